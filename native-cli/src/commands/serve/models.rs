//! The models that are served: their names, whether they are ready, how many ask them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::SystemTime;

use anyhow::Result;
use axum::http::StatusCode;
use ternary::infer::{Grammars, Sampling, vocabulary};
use ternary::session::TemplateTools;
use ternary::tokenizer::{ChatTemplate, Tokenizer};
use ternary::words::counted;

use super::metrics::{Load, Metrics};
use super::refusal::Refusal;
use super::worker::{self, Job, Spec, Unfit};

/// What is told of a model in lists.
#[derive(Clone, Debug, Default)]
pub struct Card {
    pub description: String,
    pub parameters: usize,
    pub file_bytes: u64,
    pub device: String,
    pub hidden_size: usize,
    /// Ids that the model has logits for.
    pub vocab_size: usize,
}

/// A loaded model, as far as requests are made ready for it.
#[derive(Debug)]
pub struct Ready {
    pub tokenizer: Tokenizer,
    /// None: it continues texts only.
    pub template: Option<ChatTemplate>,
    /// What the template knows of tools.
    pub knows: TemplateTools,
    pub context: usize,
    pub sampling: Sampling,
    pub card: Card,
    pub adapters: Vec<String>,
    token_bytes: OnceLock<Vec<Vec<u8>>>,
    grammars: OnceLock<Result<Grammars, String>>,
}

impl Ready {
    pub fn new(
        tokenizer: Tokenizer,
        template: Option<ChatTemplate>,
        context: usize,
        sampling: Sampling,
        card: Card,
        adapters: Vec<String>,
    ) -> Self {
        Ready {
            knows: template.as_ref().map(TemplateTools::of).unwrap_or_default(),
            tokenizer,
            template,
            context,
            sampling,
            card,
            adapters,
            token_bytes: OnceLock::new(),
            grammars: OnceLock::new(),
        }
    }

    /// What holds replies to a form; made when it is first asked for.
    pub fn grammars(&self) -> Result<&Grammars, String> {
        let made = self.grammars.get_or_init(|| {
            Grammars::new(&vocabulary(&self.tokenizer)).map_err(|problem| problem.to_string())
        });
        made.as_ref().map_err(Clone::clone)
    }

    /// The bytes of a token; of a special one its name.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        if let Some(special) = self.tokenizer.special_text(id) {
            return special.as_bytes();
        }
        let all = self
            .token_bytes
            .get_or_init(|| self.tokenizer.token_bytes());
        all.get(id as usize).map_or(&[], Vec::as_slice)
    }

    /// Refuse a prompt that leaves no room for a reply.
    pub fn check_length(&self, prompt: &[u32], param: &str) -> Result<(), Refusal> {
        match prompt.len() < self.context {
            true => Ok(()),
            false => Err(Refusal::too_long(param, prompt.len(), self.context)),
        }
    }
}

/// A served model: loading, ready or failed.
pub struct Model {
    name: String,
    /// Of its file, by which a single model can be called, too.
    file_name: String,
    created: u64,
    ready: OnceLock<Ready>,
    failure: Mutex<Option<String>>,
    jobs: Sender<Job>,
    running: AtomicUsize,
    /// Requests that were taken and are not finished.
    admitted: AtomicUsize,
    capacity: usize,
}

/// Seconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

impl Model {
    /// One that is not ready yet, and what its thread takes jobs from.
    pub fn new(name: &str, file_name: &str, capacity: usize) -> (Arc<Self>, Receiver<Job>) {
        let (jobs, receiver) = channel();
        let model = Model {
            name: name.to_owned(),
            file_name: file_name.to_owned(),
            created: now(),
            ready: OnceLock::new(),
            failure: Mutex::new(None),
            jobs,
            running: AtomicUsize::new(0),
            admitted: AtomicUsize::new(0),
            capacity,
        };
        (Arc::new(model), receiver)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn created(&self) -> u64 {
        self.created
    }

    pub fn set_ready(&self, ready: Ready) {
        // It is set once, by the thread that loaded it.
        let _ = self.ready.set(ready);
    }

    pub fn set_running(&self, running: usize) {
        self.running.store(running, Ordering::Relaxed);
    }

    pub fn fail(&self, why: &str) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        *failure = Some(why.to_owned());
    }

    pub fn failure(&self) -> Option<String> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.clone()
    }

    /// What requests are made ready with.
    pub fn ready(&self) -> Result<&Ready, Refusal> {
        let unavailable = |message: String| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message);
        if let Some(why) = self.failure() {
            let message = format!("the model {} cannot answer: {why}", self.name);
            return Err(unavailable(message).with_code("model_failed"));
        }
        self.ready.get().ok_or_else(|| {
            let message = format!("the model {} is being loaded", self.name);
            unavailable(message)
                .with_code("model_loading")
                .retry_after(2)
        })
    }

    fn is_ready(&self) -> bool {
        self.ready.get().is_some()
    }

    pub fn is_loading(&self) -> bool {
        self.ready.get().is_none() && self.failure().is_none()
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Take `count` requests, or say when to come back.
    pub fn admit(&self, count: usize, metrics: &Metrics) -> Result<(), Refusal> {
        let fits = |admitted: usize| Some(admitted + count).filter(|all| *all <= self.capacity);
        let taken = self
            .admitted
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, fits);
        taken.map(|_| ()).map_err(|admitted| {
            let running = self.running.load(Ordering::Relaxed).max(1);
            let turns = admitted.div_ceil(running) as f64;
            let seconds = (metrics.mean_duration() * turns / 2.0).clamp(1.0, 60.0);
            Refusal::new(
                StatusCode::TOO_MANY_REQUESTS,
                format!(
                    "{} {} running or waiting for {}; come back later",
                    counted(admitted, "request"),
                    if admitted == 1 { "is" } else { "are" },
                    self.name
                ),
            )
            .with_code("queue_full")
            .retry_after(seconds.ceil() as u64)
        })
    }

    /// A request is finished, or was given up.
    pub fn release(&self) {
        self.admitted.fetch_sub(1, Ordering::SeqCst);
    }

    /// Hand a job to the model's thread; whether there is one.
    pub fn send(&self, job: Job) -> bool {
        self.jobs.send(job).is_ok()
    }

    pub fn load(&self) -> Load {
        let running = self.running.load(Ordering::Relaxed);
        let admitted = self.admitted.load(Ordering::Relaxed);
        Load {
            model: self.name.clone(),
            running: running.min(admitted),
            waiting: admitted.saturating_sub(running),
        }
    }
}

/// A model, and the adapter that is to answer.
#[derive(Clone)]
pub struct Chosen {
    pub model: Arc<Model>,
    pub adapter: Option<String>,
}

impl Chosen {
    /// As requests call it.
    pub fn id(&self) -> String {
        match &self.adapter {
            None => self.model.name.clone(),
            Some(adapter) => format!("{}:{adapter}", self.model.name),
        }
    }
}

/// A model of the command line.
struct Entry {
    spec: Spec,
    model: Arc<Model>,
    /// Of the files it was loaded from.
    stamp: Option<u64>,
}

/// All models, in the order of the command line.
pub struct Models {
    entries: RwLock<Vec<Entry>>,
    capacity: usize,
    /// Held while models are loaded anew.
    reloading: tokio::sync::Mutex<()>,
}

impl Models {
    /// `capacity`: requests of a model that run or wait.
    pub fn new(capacity: usize) -> Self {
        Models {
            entries: RwLock::default(),
            capacity,
            reloading: tokio::sync::Mutex::default(),
        }
    }

    /// Begin to load a model.
    pub fn add(&self, name: &str, spec: Spec) -> std::io::Result<Loading> {
        let stamp = stamp(&spec);
        let (model, loading) = self.start(name, &spec)?;
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.push(Entry { spec, model, stamp });
        Ok(loading)
    }

    fn start(&self, name: &str, spec: &Spec) -> std::io::Result<(Arc<Model>, Loading)> {
        let file_name = spec.path.file_name().unwrap_or_default().to_string_lossy();
        let (model, jobs) = Model::new(name, &file_name, self.capacity);
        let (done, loading) = tokio::sync::oneshot::channel();
        let (spec, shared) = (spec.clone(), Arc::downgrade(&model));
        std::thread::Builder::new()
            .name(format!("model {name}"))
            .spawn(move || {
                let loaded = worker::load(&spec);
                // Whoever began this may have gone away.
                let Some(model) = shared.upgrade() else {
                    return;
                };
                match loaded {
                    Ok((mut service, ready, unfit)) => {
                        model.set_ready(ready);
                        let _ = done.send(Ok(unfit));
                        drop(model);
                        worker::run(&mut service, &jobs, &shared);
                    }
                    Err(e) => {
                        model.fail(&format!("{e:#}"));
                        let _ = done.send(Err(e));
                    }
                }
            })?;
        Ok((model, loading))
    }

    /// Serve a model that somebody else runs.
    #[cfg(test)]
    pub fn add_running(&self, model: Arc<Model>, adapters: &[&str]) {
        let spec = Spec {
            path: PathBuf::new(),
            options: ternary::session::service::ServiceOptions {
                device: ternary::session::DeviceChoice::Cpu,
                threads: 1,
                context: None,
                cache: ternary::config::CachePrecision::F16,
                parallel: 1,
                drafts: false,
            },
            adapters: (adapters.iter())
                .map(|name| ((*name).to_owned(), PathBuf::new()))
                .collect(),
            draft: None,
        };
        let stamp = None;
        self.entries
            .write()
            .unwrap()
            .push(Entry { spec, model, stamp });
    }

    pub fn all(&self) -> Vec<Arc<Model>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.iter().map(|entry| entry.model.clone()).collect()
    }

    /// Every name that a request may give.
    pub fn ids(&self) -> Vec<Chosen> {
        let mut ids = Vec::new();
        for model in self.all() {
            let adapters = model.ready.get().map_or(&[][..], |ready| &ready.adapters);
            let adapters = adapters.iter().cloned().map(Some);
            ids.extend([None].into_iter().chain(adapters).map(|adapter| Chosen {
                model: model.clone(),
                adapter,
            }));
        }
        ids
    }

    /// The model that a request names; without a name the only one there is.
    pub fn find(&self, name: Option<&str>) -> Result<Chosen, Refusal> {
        let ids = self.ids();
        let models = self.all();
        let only = match models.as_slice() {
            [only] => Some(only),
            _ => None,
        };
        let Some(name) = name else {
            let chosen = only.map(|model| Chosen {
                model: model.clone(),
                adapter: None,
            });
            return chosen.ok_or_else(|| {
                let list = list(&ids);
                Refusal::invalid("model", format!("it is required; served are {list}"))
                    .with_code("missing_required_parameter")
            });
        };
        if let Some(chosen) = ids.iter().find(|chosen| chosen.id() == name) {
            return Ok(chosen.clone());
        }
        // An adapter's own name, where it means one model only.
        let mut of_adapter = ids
            .iter()
            .filter(|chosen| chosen.adapter.as_deref() == Some(name));
        if let (Some(chosen), None) = (of_adapter.next(), of_adapter.next()) {
            return Ok(chosen.clone());
        }
        if let Some(model) = only.filter(|model| model.file_name == name) {
            return Ok(Chosen {
                model: model.clone(),
                adapter: None,
            });
        }
        self.check_adapter(name)?;
        Err(Refusal {
            param: Some("model".to_owned()),
            ..Refusal::new(
                StatusCode::NOT_FOUND,
                format!(
                    "there is no model `{}`; served are {}",
                    shortened(name),
                    list(&ids)
                ),
            )
            .with_code("model_not_found")
        })
    }

    /// Which adapters fit a model is known when it is loaded: until then one may be there, and
    /// clients shall come back.
    fn check_adapter(&self, name: &str) -> Result<(), Refusal> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        for entry in entries.iter().filter(|entry| !entry.model.is_ready()) {
            let mut adapters = entry.spec.adapters.iter();
            let of = format!("{}:", entry.model.name);
            let asked = name.strip_prefix(&of).unwrap_or(name);
            if adapters.any(|(adapter, _)| adapter == asked) {
                entry.model.ready()?;
            }
        }
        Ok(())
    }

    /// Load anew what has changed on disk. The model before goes on answering until the new one is
    /// there, and finishes what it has begun.
    pub async fn reload(&self) {
        let _one = self.reloading.lock().await;
        let changed: Vec<(usize, String, Spec, Option<u64>)> = {
            let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
            let all = entries.iter().enumerate().map(|(i, entry)| {
                let stamp = stamp(&entry.spec);
                let changed = stamp != entry.stamp || entry.model.failure().is_some();
                (
                    changed,
                    (i, entry.model.name.clone(), entry.spec.clone(), stamp),
                )
            });
            all.filter(|(changed, _)| *changed)
                .map(|(_, entry)| entry)
                .collect()
        };
        if changed.is_empty() {
            log::info!("no model's files have changed");
        }
        for (i, name, spec, stamp) in changed {
            log::info!(
                "{name}: its files have changed; loading {}",
                spec.path.display()
            );
            let loaded = match self.start(&name, &spec) {
                Ok((model, loading)) => loading.await.map(|result| result.map(|_| model)),
                Err(e) => Ok(Err(e.into())),
            };
            match loaded {
                Ok(Ok(model)) => {
                    let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
                    (entries[i].model, entries[i].stamp) = (model, stamp);
                    log::info!("{name}: loaded; it answers from now on");
                }
                Ok(Err(e)) => log::error!("{name}: the one before stays: {e:#}"),
                Err(_) => log::error!("{name}: the one before stays: loading ended early"),
            }
        }
    }
}

/// Ends when a model is loaded: the adapters that are not for it, or what is wrong.
pub type Loading = tokio::sync::oneshot::Receiver<Result<Vec<Unfit>>>;

fn list(ids: &[Chosen]) -> String {
    let names: Vec<String> = ids.iter().map(Chosen::id).collect();
    names.join(", ")
}

fn shortened(name: &str) -> String {
    name.chars().take(100).collect()
}

/// Tells files apart whose bytes may differ: by their lengths and times, and a `.1bit` by what it
/// says of its tensors, checksums included.
fn stamp(spec: &Spec) -> Option<u64> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    /// More files than a checkpoint or an adapter has.
    const MOST: usize = 1000;
    let mut hasher = DefaultHasher::new();
    let mut folders: Vec<PathBuf> = vec![spec.path.clone()];
    folders.extend(spec.adapters.iter().map(|(_, path)| path.clone()));
    let (mut seen, mut times) = (0, HashMap::new());
    while let Some(path) = folders.pop() {
        seen += 1;
        let about = std::fs::metadata(&path).ok()?;
        if about.is_dir() && seen < MOST {
            let inside = std::fs::read_dir(&path).ok()?.flatten();
            folders.extend(inside.map(|entry| entry.path()));
        } else if about.is_file() {
            times.insert(path, (about.len(), about.modified().ok()));
        }
    }
    let mut times: Vec<_> = times.into_iter().collect();
    times.sort();
    for (path, (len, modified)) in times {
        (&path, len).hash(&mut hasher);
        match header_bytes(&path) {
            Some(header) => header.hash(&mut hasher),
            None => modified.hash(&mut hasher),
        }
    }
    Some(hasher.finish())
}

/// What stands before the tensors of a `.1bit`, with the checksum of each.
fn header_bytes(path: &Path) -> Option<String> {
    let file = ternary::format::FileSource::open(path).ok()?;
    let file = pollster::block_on(ternary::format::OneBit::open(&file)).ok()?;
    Some(format!("{:?}{:?}", file.metadata, file.tensors))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_of_a_model_that_is_being_loaded_is_waited_for() {
        let models = Models::new(1);
        let (model, _jobs) = Model::new("m", "m", 1);
        models.add_running(model.clone(), &["poet"]);
        let code = |name: &str| models.find(Some(name)).err().unwrap().code;
        for name in ["poet", "m:poet"] {
            assert_eq!(code(name), Some("model_loading"), "{name}");
        }
        assert_eq!(code("m:other"), Some("model_not_found"));
        assert_eq!(code("other"), Some("model_not_found"));
        model.fail("its file is gone");
        assert_eq!(code("m:poet"), Some("model_failed"));
    }
}
