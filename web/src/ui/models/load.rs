//! A model on its way.

use std::sync::Arc;

use ternary::infer::LoadPlan;
use ternary::session::{DeviceChoice, FilePart};
use web_sys::File;

use crate::protocol::{AdapterSource, RequestId, Source};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadStage {
    /// Asked for; nothing has arrived.
    Waiting,
    /// From the server to the browser.
    Fetching,
    /// From the browser into the engine.
    Reading,
}

/// An adapter: what it is called, the model it says it belongs to, and where it is.
#[derive(Clone, Debug)]
pub struct UsedAdapter {
    pub name: String,
    pub base: Option<String>,
    pub source: AdapterSource,
}

impl UsedAdapter {
    /// Its id in this browser's store.
    pub fn kept(&self) -> Option<&str> {
        match &self.source {
            AdapterSource::Kept { id } => Some(id),
            AdapterSource::Files(_) => None,
        }
    }
}

/// A model that only this visit has.
#[derive(Clone, Debug)]
pub enum Unkept {
    /// A file that was opened.
    File(File),
    /// Made here, of another.
    Made,
}

#[derive(Clone, Debug)]
pub struct Load {
    /// What asked for it.
    pub request: RequestId,
    pub source: Source,
    pub device: DeviceChoice,
    pub stage: LoadStage,
    pub done: u64,
    /// 0: not known.
    pub total: u64,
    /// When the present stage began, in milliseconds of the page's clock, and with how many bytes.
    began: (f64, u64),
    /// What it takes, once its file was opened.
    pub plan: Option<LoadPlan>,
    /// What the file holds, in the order in which it is loaded; nothing until that is known.
    pub parts: Arc<Vec<FilePart>>,
    /// It takes the place of a model whose GPU is gone.
    pub rebuilds: bool,
    /// What is to be beside it.
    pub adapters: Vec<UsedAdapter>,
    pub unkept: Option<Unkept>,
    /// It is to be kept as soon as it is there.
    pub keeps: bool,
}

impl Load {
    pub fn new(source: Source, device: DeviceChoice) -> Self {
        let unkept = match &source {
            Source::File(file) => Some(Unkept::File(file.clone())),
            _ => None,
        };
        Self {
            request: 0,
            source,
            device,
            stage: LoadStage::Waiting,
            done: 0,
            total: 0,
            began: (0.0, 0),
            plan: None,
            parts: Arc::default(),
            rebuilds: false,
            adapters: Vec::new(),
            unkept,
            keeps: false,
        }
    }

    pub fn beside(self, adapters: Vec<UsedAdapter>) -> Self {
        Self { adapters, ..self }
    }

    /// Bytes a second in the present stage; 0 until that can be said.
    pub fn speed(&self) -> f64 {
        let (since, before) = self.began;
        let seconds = (js_sys::Date::now() - since) / 1000.0;
        if seconds < 0.5 {
            return 0.0;
        }
        self.done.saturating_sub(before) as f64 / seconds
    }

    pub fn advance(&mut self, stage: LoadStage, done: u64, total: u64) {
        if self.stage != stage {
            self.began = (js_sys::Date::now(), done);
        }
        (self.stage, self.done, self.total) = (stage, done, total);
    }
}
