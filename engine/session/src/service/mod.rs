//! A model that answers many requests at once: what `onebit serve` is built on.

mod request;

pub use request::{Client, Request, TokenLogprob, Update, Usage};

use std::rc::Rc;

use ternary_common::bytes::ByteSource;
use ternary_core::config::CachePrecision;
use ternary_formats::adapter::Adapter;

use crate::error::{Error, Result};
use crate::protocol::{DeviceChoice, ModelInfo};

/// How a [`Service`] is set up.
#[derive(Clone, Debug)]
pub struct ServiceOptions {
    /// Where it runs.
    pub device: DeviceChoice,
    /// CPU threads; 0 = all.
    pub threads: usize,
    /// Tokens that prompt and reply of one request may have; without, as many as the model has and
    /// memory allows.
    pub context: Option<usize>,
    /// Precision of keys and values.
    pub cache: CachePrecision,
    /// Requests that are answered at the same time; more wait.
    pub parallel: usize,
}

/// A model with the requests it is answering. It does nothing by itself: call [`Service::step`]
/// until it is idle.
pub struct Service {
    info: ModelInfo,
}

impl Service {
    /// Load a `.1bit`.
    ///
    /// # Errors
    /// A file that is no model, or one that does not fit the memory.
    pub async fn load(_source: Rc<dyn ByteSource>, _options: &ServiceOptions) -> Result<Self> {
        Err(Error::NoModel)
    }

    /// Have an adapter that requests can ask for.
    ///
    /// # Errors
    /// It belongs to another model.
    pub async fn add_adapter(&mut self, _name: &str, _adapter: Adapter) -> Result<()> {
        Err(Error::NoModel)
    }

    /// What was loaded.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Tokens that prompt and reply of one request may have.
    pub fn context(&self) -> usize {
        self.info.context
    }

    /// Take a request; it is answered by and by, first come, first served. One that cannot be
    /// answered is told at once.
    pub fn submit(&mut self, _request: Request, mut client: Box<dyn Client>) {
        client.update(Update::Failed(Error::NoModel));
    }

    /// Requests being answered, and requests that wait.
    pub fn load_now(&self) -> (usize, usize) {
        (0, 0)
    }

    /// Whether there is nothing to do.
    pub fn is_idle(&self) -> bool {
        self.load_now() == (0, 0)
    }

    /// One pass through the model: a token for every running reply, and a piece of the prompts that
    /// are being read.
    ///
    /// # Errors
    /// The device failed. Every request was told.
    pub async fn step(&mut self) -> Result<()> {
        Ok(())
    }
}
