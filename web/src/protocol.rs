//! What the page and its worker say to each other.
//!
//! Around the engine's own commands and events stands only what the engine does not know: where a file is, and that the
//! worker itself can fail.

use serde::{Deserialize, Serialize};
use ternary_core::session::{Command, DeviceChoice, Event};

/// From the page to the worker. A request that arrives while another runs waits, except `Stop`.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    Load {
        source: Source,
        device: DeviceChoice,
    },
    Run(Command),
    /// Open a file beside the loaded model.
    Compare {
        source: Source,
    },
    /// Forget the fine-tuning that the browser keeps.
    ForgetTune,
    /// End the running reply after its current token.
    Stop,
}

/// Where a model comes from. A file crosses as a handle; its bytes stay where they are until the worker reads them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Source {
    /// The model that `models/index.json` names.
    Shipped,
    Url(String),
    File(#[serde(with = "serde_wasm_bindgen::preserve")] web_sys::File),
}

impl Source {
    /// For people to read.
    pub fn name(&self) -> String {
        match self {
            Source::Shipped => "the model that comes with this page".to_owned(),
            Source::Url(url) => {
                let path = url.split(['?', '#']).next().unwrap_or(url);
                path.rsplit('/').next().unwrap_or(path).to_owned()
            }
            Source::File(file) => file.name(),
        }
    }
}

/// From the worker to the page.
#[derive(Debug, Serialize, Deserialize)]
pub enum Report {
    /// The worker listens.
    Ready,
    /// Bytes of a model fetched so far; `total` is 0 when the server did not say.
    Fetched {
        done: u64,
        total: u64,
    },
    /// No model comes with this page.
    NothingShipped,
    Event(Event),
    /// The browser keeps the fine-tuning as it was after this step.
    TuneSaved {
        step: usize,
    },
    /// The engine died; only a new worker helps.
    Panicked(String),
}
