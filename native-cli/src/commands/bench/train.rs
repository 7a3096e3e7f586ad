//! Training steps on random tokens: `onebit bench --train`.

use anyhow::Result;
use serde_json::json;
use ternary::platform;
use ternary::session::suite;
use ternary::words::counted;

use crate::args::{Bench, TrainShape};
use crate::model;
use crate::output::{errln, outln};

pub fn run(a: &Bench, shape: TrainShape) -> Result<()> {
    let backend = model::open_device(a.device, &a.backend_options())?;
    let info = backend.info();
    let wanted = a.steps.max(1);
    let enough = |steps, _| steps >= wanted;
    let mut tell = |line: &str| errln!("{line}");
    let training = suite::train(backend, shape.shape(), a.batch, enough, &mut tell);
    let m = pollster::block_on(training)?;
    let (speed, each) = (m.tokens_per_second(), m.seconds / m.steps as f64);
    let peak = platform::peak_memory();
    if a.json {
        outln!(
            "{}",
            json!({"device": info.name, "kind": info.kind, "parameters": m.parameters, "batch_size": m.batch,
                "context": m.context, "steps": m.steps, "tokens_per_second": speed, "seconds_per_step": each,
                "loss": m.loss, "planned_bytes": m.planned_bytes, "peak_rss_bytes": peak})
        );
        return Ok(());
    }
    outln!(
        "{speed:.1} tok/s, {each:.3} s a step of {}, loss {:.3}",
        counted(m.batch * m.context, "token"),
        m.loss
    );
    if let Some(peak) = peak {
        outln!(
            "peak resident memory {:.1} MiB",
            peak as f64 / f64::from(1 << 20)
        );
    }
    Ok(())
}
