//! Parts of the suite that measures this device.

use std::rc::Rc;

use serde_json::{Map, Value};
use ternary::format::ByteSource;
use ternary::session::suite::{Part, SuiteOptions, Told, run_part};

use super::{Job, load};
use crate::protocol::Response;

pub async fn run(part: Part, options: SuiteOptions, rates: &str, job: &Job) {
    let responder = job.responder;
    let rates: Map<String, Value> = serde_json::from_str(rates).unwrap_or_default();
    let shipped = match part {
        Part::Text => match load::shipped(job).await {
            Ok(file) => file.map(|file| Rc::new(file) as Rc<dyn ByteSource>),
            Err(problem) => return responder.error(problem),
        },
        _ => None,
    };
    let mut tell = |told: Told<'_>| {
        let (line, found) = match told {
            Told::Line(line) => (Some(line.to_owned()), None),
            Told::Found(found) => (None, serde_json::to_string(found).ok()),
        };
        responder.send(Response::Measuring { line, found });
    };
    if let Err(problem) = run_part(part, &options, &rates, shipped, &mut tell).await {
        responder.error(problem.to_string());
    }
}
