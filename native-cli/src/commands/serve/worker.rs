//! A model's own thread: it takes jobs and makes steps while there is something to do.

use std::path::PathBuf;
use std::sync::Weak;
use std::sync::mpsc::Receiver;

use anyhow::{Context, Result, bail};
use ternary::session::service::{Client, Request, Service, ServiceOptions};
use ternary::train::checkpoint;

use super::models::{Card, Model, Ready};
use crate::model;

/// A request and who asked.
pub struct Job {
    pub request: Request,
    pub client: Box<dyn Client>,
}

/// What answers requests: a [`Service`], or a test's stand-in.
pub trait Engine {
    fn submit(&mut self, job: Job);

    /// Requests being answered, and requests that wait.
    fn load_now(&self) -> (usize, usize);

    /// Go on with what is there.
    ///
    /// # Errors
    /// It cannot go on, ever.
    fn step(&mut self) -> Result<()>;
}

impl Engine for Service {
    fn submit(&mut self, job: Job) {
        Service::submit(self, job.request, job.client);
    }

    fn load_now(&self) -> (usize, usize) {
        Service::load_now(self)
    }

    fn step(&mut self) -> Result<()> {
        Ok(pollster::block_on(Service::step(self))?)
    }
}

/// What a model is loaded from.
#[derive(Clone, Debug)]
pub struct Spec {
    pub path: PathBuf,
    pub options: ServiceOptions,
    /// Names and folders of adapters that may be for it.
    pub adapters: Vec<(String, PathBuf)>,
    /// What guesses for it besides the text itself, see [`model::draft`].
    pub draft: Option<PathBuf>,
}

/// An adapter that was not taken, and why.
pub type Unfit = (String, String);

/// Load a model and its adapters; those that are for another model are told.
pub fn load(spec: &Spec) -> Result<(Service, Ready, Vec<Unfit>)> {
    let source = model::source(&spec.path, None)?;
    let named = || spec.path.display().to_string();
    let mut service =
        pollster::block_on(Service::load(source, &spec.options)).with_context(named)?;
    if let Some(draft) = &spec.draft
        && let Some(source) = model::draft(draft, &spec.path)?
    {
        pollster::block_on(service.draft_with(source))
            .with_context(|| format!("--draft {}", draft.display()))?;
    }
    let (mut adapters, mut unfit) = (Vec::new(), Vec::new());
    for (name, path) in &spec.adapters {
        let adapter = checkpoint::read_adapter(path)
            .with_context(|| format!("--adapter {name}={}", path.display()))?;
        match pollster::block_on(service.add_adapter(name, adapter)) {
            Ok(()) => adapters.push(name.clone()),
            Err(e) => unfit.push((name.clone(), e.to_string())),
        }
    }
    let info = service.info();
    let card = Card {
        description: info.description.clone(),
        parameters: info.parameters,
        file_bytes: info.file_bytes,
        device: format!("{} ({})", info.device.kind, info.device.name),
        hidden_size: info.config.hidden_size,
        vocab_size: info.config.vocab_size,
    };
    let Some(tokenizer) = service.tokenizer().cloned() else {
        bail!(
            "{}: this model carries no tokenizer, so it cannot read text",
            named()
        );
    };
    let ready = Ready::new(
        tokenizer,
        service.template().cloned(),
        service.context(),
        info.sampling.clone(),
        card,
        adapters,
    );
    Ok((service, ready, unfit))
}

/// Tells a model that its thread has ended, however it did.
struct Ending<'a>(&'a Weak<Model>);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if let Some(model) = self.0.upgrade()
            && std::thread::panicking()
        {
            model.fail("the model's thread has ended; the log says more");
        }
    }
}

/// Answer jobs until nobody can send any more.
pub fn run(engine: &mut dyn Engine, jobs: &Receiver<Job>, model: &Weak<Model>) {
    let _ending = Ending(model);
    loop {
        if engine.load_now() == (0, 0) {
            let Ok(job) = jobs.recv() else {
                return;
            };
            engine.submit(job);
        }
        jobs.try_iter().for_each(|job| engine.submit(job));
        let result = engine.step();
        let model = model.upgrade();
        if let Some(model) = &model {
            model.set_running(engine.load_now().0);
        }
        if let Err(e) = result {
            log::error!("a model can go on no longer: {e:#}");
            if let Some(model) = model {
                model.fail(&format!("{e:#}"));
            }
            return;
        }
    }
}
