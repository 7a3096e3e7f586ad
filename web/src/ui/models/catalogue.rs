//! The models that this page knows of, from `models/catalogue.json`, and what to expect of one
//! here.
//!
//! Decoding reads every weight once for every token, so the speed of one model tells that of
//! another: tokens a second · bytes of weights are about the same for all.

use leptos::prelude::*;
use serde::Deserialize;
use ternary::infer::Sampling;
use ternary::session::{Command, DeviceKind, Event};
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::{JsFuture, spawn_local};

use super::Models;
use crate::js::{describe, field};
use crate::protocol::{CACHE_LIMIT, Request, Response};

const LIST: &str = "models/catalogue.json";
/// What a page's program can address, less what the engine itself takes.
const PROGRAM_LIMIT: u64 = 3_500_000_000;
/// Share of a device's memory that one page gets.
const SHARE: f64 = 0.5;
/// Slower than this nobody waits for an answer, in tokens a second.
const TOO_SLOW: f64 = 2.0;
/// Tokens of the measurement.
const MEASURED: usize = 24;

/// `models/catalogue.json`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Catalogue {
    /// Where repositories are; none: this page asks no other site for anything.
    #[serde(default)]
    pub hub: Option<String>,
    pub models: Vec<Entry>,
}

/// One of its models. Sizes are for people to read beforehand; what is downloaded is told by its
/// server.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Entry {
    pub name: String,
    /// It comes with the page.
    #[serde(default)]
    pub shipped: bool,
    /// On the hub: OWNER/NAME or OWNER/NAME/FILE.
    #[serde(default)]
    pub repository: Option<String>,
    /// A `.1bit` of this site.
    #[serde(default)]
    pub url: Option<String>,
    pub about: String,
    pub parameters: usize,
    pub download_bytes: u64,
    /// As a `.1bit`, and of its weights in memory.
    pub bytes: u64,
    /// In tokens.
    pub context: usize,
    pub license: String,
    /// What is known to work.
    pub tried: String,
}

/// What this device can do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Tokens a second of the loaded model, and the bytes of its weights.
    pub tokens_per_second: f64,
    pub weight_bytes: usize,
    pub on_gpu: bool,
}

/// Whether a model runs here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fit {
    Runs,
    /// The CPU would take too long.
    NeedsGpu,
    TooLarge,
}

impl Pace {
    /// Of a model with so many bytes of weights, in tokens a second.
    pub fn expected(self, bytes: u64) -> f64 {
        self.tokens_per_second * self.weight_bytes as f64 / bytes.max(1) as f64
    }
}

impl Entry {
    /// Weights, and the keys and values that a page gives a context at most.
    pub fn memory(&self) -> u64 {
        self.bytes + (self.bytes / 4).min(CACHE_LIMIT)
    }

    /// `memory`: of the device, if the browser tells.
    pub fn fit(&self, pace: Option<Pace>, memory: Option<f64>) -> Fit {
        let room = memory.map_or(u64::MAX, |bytes| (bytes * SHARE) as u64);
        if self.memory() > PROGRAM_LIMIT.min(room) {
            return Fit::TooLarge;
        }
        match pace {
            Some(pace) if !pace.on_gpu && pace.expected(self.bytes) < TOO_SLOW => Fit::NeedsGpu,
            _ => Fit::Runs,
        }
    }
}

/// Bytes of memory that this device has, as far as the browser tells: some do not, and none tells
/// of more than a few GiB.
pub fn device_memory() -> Option<f64> {
    /// From here on browsers tell no difference.
    const MOST: f64 = 8.0;
    let gibibytes = field(&window().navigator(), "deviceMemory").as_f64()?;
    (gibibytes < MOST).then_some(gibibytes * f64::from(1 << 30))
}

impl Models {
    /// Reads the list, once.
    pub fn read_catalogue(self) {
        if self.catalogue.with_untracked(Option::is_some) {
            return;
        }
        spawn_local(async move {
            match read().await {
                Ok(catalogue) => self.catalogue.set(Some(catalogue)),
                // A site may do without one.
                Err(problem) => {
                    log::warn!("{LIST}: {problem}");
                    self.catalogue.set(Some(Catalogue::default()));
                }
            }
        });
    }

    /// Measures how fast the loaded model is here, unless that is known.
    pub fn measure_pace(self) {
        let measured = self.pace.with_untracked(Option::is_some);
        // What the server does says nothing of this device.
        if measured || untrack(|| self.is_served() || !self.engine.ready()) {
            return;
        }
        let command = Command::Generate {
            prompt: "The".to_owned(),
            sampling: Sampling {
                temperature: 0.0,
                max_tokens: MEASURED,
                ..Sampling::default()
            },
            form: None,
        };
        let on_response = move |_, response| {
            let Response::Event(Event::Finished { stats, .. }) = response else {
                return;
            };
            self.engine.model.with_untracked(|model| {
                let measured = model.as_ref().filter(|_| stats.tokens_per_second > 0.0);
                self.pace.set(measured.map(|model| Pace {
                    tokens_per_second: stats.tokens_per_second,
                    weight_bytes: model.weight_bytes,
                    on_gpu: model.device.kind == DeviceKind::Gpu,
                }));
            });
        };
        self.engine.request(Request::Run(command), on_response);
    }
}

async fn read() -> Result<Catalogue, String> {
    let answer = JsFuture::from(window().fetch_with_str(LIST)).await;
    let answer: web_sys::Response = answer.map_err(describe)?.unchecked_into();
    if !answer.ok() {
        return Err(format!("the server answers {}", answer.status()));
    }
    let text = JsFuture::from(answer.text().map_err(describe)?).await;
    let text = text.map_err(describe)?.as_string().unwrap_or_default();
    serde_json::from_str(&text).map_err(|problem| problem.to_string())
}
