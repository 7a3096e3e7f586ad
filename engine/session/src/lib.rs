//! The only door for the page and the command line.

#![warn(missing_docs)]

mod context;
mod conversation;
mod demands;
mod device;
mod endings;
mod error;
mod explore;
mod generate;
mod open;
mod prompts;
mod protocol;
pub mod service;
pub mod suite;
mod tune;
mod weights;

use std::cell::{OnceCell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use context::context_within;
pub use conversation::{chat_parts, encode_chat};
pub use demands::{Demands, ToolChoice};
pub use device::open_backend;
pub use error::{Error, Result};
pub use explore::{MapLoss, MatrixDiff};
pub use protocol::{
    Command, DeviceChoice, Event, FilePart, FinishReason, ModelInfo, ModelTask, Stats, file_parts,
};
pub use ternary_backend::{DeviceInfo, DeviceKind};
pub use ternary_common::chat::Message;
pub use ternary_common::tokenizer::TemplateTools;
pub use ternary_grammar::Error as GrammarError;
pub use tune::{Keep, Sampled, TunePlan, TunePoint, TuneSettings, hold_back, tune_progress};
pub use weights::{MatrixFigures, WeightSource, Weights};

use endings::TurnMarks;
use explore::{Compared, MapScorer};
use generate::{Manner, Prompt};
use open::Opened;
use ternary_common::bytes::{ByteSource, MemorySource};
use ternary_common::platform::Instant;
use ternary_common::tokenizer::{ChatTemplate, Tokenizer};
use ternary_core::config::CachePrecision;
use ternary_core::layout::FormatError;
use ternary_formats::onebit::OneBit;
use ternary_infer::{
    Compiler, Constraint, Form, LoadOptions, LowRankAdapter, Model, Vocabulary, vocabulary,
};
use tune::Tuning;

/// Ends the running reply after its current token. Cheap to clone; works from a message handler
/// while the session is busy.
#[derive(Clone, Debug, Default)]
pub struct StopHandle(Arc<AtomicBool>);

impl StopHandle {
    /// Ask for the end. The answer is still completed by its `Finished` or `TuneStopped`.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Says which matrix is looked at: a fine-tuning tells what becomes of it. Cheap to clone; works
/// from a message handler while the session is busy.
#[derive(Clone, Debug, Default)]
pub struct WatchHandle(Rc<RefCell<Watched>>);

#[derive(Debug, Default)]
struct Watched {
    name: Option<String>,
    /// Nothing was told of it yet.
    new: bool,
}

impl WatchHandle {
    /// Look at the matrix `name`, or at none.
    pub fn watch(&self, name: Option<String>) {
        let new = name.is_some();
        *self.0.borrow_mut() = Watched { name, new };
    }

    fn name(&self) -> Option<String> {
        self.0.borrow().name.clone()
    }

    /// Whether nothing was told of it before.
    fn take_new(&self) -> bool {
        std::mem::take(&mut self.0.borrow_mut().new)
    }
}

/// A model ready to answer.
pub struct LoadedModel {
    /// On its device, with the KV cache of the last request.
    pub model: Model,
    /// None in a file without one: the model can only be measured then.
    pub tokenizer: Option<Tokenizer>,
    /// None in a file without one, or with one that cannot be used.
    pub template: Option<ChatTemplate>,
    /// What `Event::Loaded` said.
    pub info: ModelInfo,
    /// Where it came from: looking at weights and training read it again.
    source: Rc<dyn ByteSource>,
    file: OneBit,
    marks: TurnMarks,
    /// In the model's order.
    adapters: Vec<Beside>,
    /// What the template knows of tools; found out when that first matters.
    knows: OnceCell<TemplateTools>,
    /// Made when first asked for.
    compiler: Option<Box<dyn Compiler>>,
}

impl fmt::Debug for LoadedModel {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("LoadedModel")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

/// An adapter beside a model.
#[derive(Clone)]
pub struct Beside {
    /// What commands call it.
    pub name: String,
    /// The matrices.
    pub adapter: Rc<dyn LowRankAdapter>,
}

impl fmt::Debug for Beside {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Beside({:?})", self.name)
    }
}

/// One user's model and what it is doing. Commands go in, events come out.
///
/// ```
/// use ternary_infer::Sampling;
/// use ternary_common::bytes::FileSource;
/// use std::rc::Rc;
/// use ternary_session::{Command, DeviceChoice, Event, Session};
///
/// let source = Rc::new(FileSource::open("../tests/fixtures/v1.1bit".as_ref())?);
/// let mut session = Session::with_threads(1);
/// let mut text = String::new();
/// let mut emit = |event| match event {
///     Event::Token { text: piece } => text += &piece,
///     Event::Error { message } => panic!("{message}"),
///     _ => {}
/// };
/// pollster::block_on(session.load(source, DeviceChoice::Cpu, &mut emit));
/// let sampling = Sampling { temperature: 0.0, max_tokens: 8, ..Sampling::default() };
/// let prompt = "The cat".into();
/// pollster::block_on(session.handle(Command::Generate { prompt, sampling, form: None }, &mut emit));
/// assert!(!text.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct Session {
    loaded: Option<LoadedModel>,
    stop: StopHandle,
    watch: WatchHandle,
    threads: usize,
    /// The context asked for, in tokens.
    context: Option<usize>,
    /// The device asked for with the loaded model.
    device: DeviceChoice,
    /// What keys and values may take; a longer context is shortened.
    cache_limit: Option<u64>,
    /// How keys and values are kept.
    cache: CachePrecision,
    compared: Option<Compared>,
    map_scorer: Option<MapScorer>,
    tuning: Option<Box<Tuning>>,
    /// What holds replies to a form, where that is not built in.
    compilers: Option<Box<dyn CompilerMaker>>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Session")
            .field("loaded", &self.loaded)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// A session without a model, on all threads.
    pub fn new() -> Self {
        Self::default()
    }

    /// Limit the CPU backend's threads; 0 = all.
    pub fn with_threads(threads: usize) -> Self {
        Session {
            threads,
            ..Self::default()
        }
    }

    /// As [`Session::with_threads`], for what is opened from now on.
    pub fn limit_threads(&mut self, threads: usize) {
        self.threads = threads;
    }

    /// Keep keys and values of models loaded from now on in this precision.
    pub fn set_cache_precision(&mut self, cache: CachePrecision) {
        self.cache = cache;
    }

    /// Have a context that does not fit shortened instead of refused, and one whose keys and values
    /// take more than so many bytes: a page is not told how much memory there is.
    pub fn limit_cache(&mut self, bytes: u64) {
        self.cache_limit = Some(bytes);
    }

    /// Keep keys and values for so many tokens; without, for as many as are in proportion to the
    /// model.
    #[must_use]
    pub fn with_context(self, context: Option<usize>) -> Self {
        Session { context, ..self }
    }

    /// Have `maker` hold replies to a form from now on: in a build without the feature `grammar`
    /// that is another program's work.
    pub fn set_compilers(&mut self, maker: Box<dyn CompilerMaker>) {
        self.compilers = Some(maker);
    }

    /// Whether something holds replies to a form.
    pub fn has_compilers(&self) -> bool {
        self.compilers.is_some() || cfg!(feature = "grammar")
    }

    /// Forget the model, and what belongs to it.
    pub fn unload(&mut self) {
        self.loaded = None;
        (self.compared, self.map_scorer, self.tuning) = (None, None, None);
    }

    /// A handle that stops what this session is doing.
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// A handle that says which matrix is looked at.
    pub fn watch_handle(&self) -> WatchHandle {
        self.watch.clone()
    }

    /// The loaded model, for evaluation and inspection.
    pub fn loaded(&mut self) -> Result<&mut LoadedModel> {
        self.loaded.as_mut().ok_or(Error::NoModel)
    }

    /// The loaded model's file.
    pub fn source(&self) -> Option<Rc<dyn ByteSource>> {
        self.loaded.as_ref().map(|loaded| loaded.source.clone())
    }

    /// Open a `.1bit` and load it. Emits `Planned`, `Progress`, then `Loaded` or `Error`; after an
    /// error the model loaded before still works.
    pub async fn load(
        &mut self,
        source: Rc<dyn ByteSource>,
        device: DeviceChoice,
        emit: &mut dyn FnMut(Event),
    ) {
        self.load_adapted(source, None, device, emit).await;
    }

    /// As [`Session::load`], with an adapter that answers beside the model.
    pub async fn load_adapted(
        &mut self,
        source: Rc<dyn ByteSource>,
        adapter: Option<Beside>,
        device: DeviceChoice,
        emit: &mut dyn FnMut(Event),
    ) {
        let name = source.name();
        let chosen = adapter.as_ref().map(|adapter| adapter.name.clone());
        let adapters = adapter.into_iter().collect();
        let result = self.try_load(source, adapters, chosen, device, emit).await;
        if let Err(e) = result {
            emit(Event::Error {
                message: of_file(&name, &e),
            });
        }
    }

    /// Compare a file with the loaded model. Answered by `Compared`; its weights can be asked for
    /// until another is compared.
    pub async fn compare(&mut self, source: Rc<dyn ByteSource>, emit: &mut dyn FnMut(Event)) {
        let name = source.name();
        if let Err(e) = self.try_compare(source, emit).await {
            emit(Event::Error {
                message: of_file(&name, &e),
            });
        }
    }

    async fn try_compare(
        &mut self,
        source: Rc<dyn ByteSource>,
        emit: &mut dyn FnMut(Event),
    ) -> Result<()> {
        let file = OneBit::open(source.as_ref()).await?;
        let with = Compared { source, file };
        let changes = explore::compare(self.loaded()?, &with).await?;
        let name = match with.file.metadata.name.as_str() {
            "" => with.source.name(),
            name => name.to_owned(),
        };
        self.compared = Some(with);
        emit(Event::Compared { name, changes });
        Ok(())
    }

    /// Have an adapter that [`Command::Adapt`] can name, beside the loaded model, whose weights
    /// stay where they are.
    ///
    /// # Errors
    /// No model is loaded, one of this name is there, or it belongs to another model.
    pub async fn add_adapter(&mut self, adapter: Beside) -> Result<()> {
        self.loaded()?.add_adapter(adapter).await
    }

    /// Where the loaded model was to run, as it was asked for.
    pub fn device(&self) -> DeviceChoice {
        self.device
    }

    /// `chosen` of the adapters answers.
    async fn try_load(
        &mut self,
        source: Rc<dyn ByteSource>,
        adapters: Vec<Beside>,
        chosen: Option<String>,
        device: DeviceChoice,
        emit: &mut dyn FnMut(Event),
    ) -> Result<()> {
        let start = Instant::now();
        let opened = open::open(
            source.as_ref(),
            &open::Wanted {
                device,
                threads: self.threads,
                context: self.context,
                cache_limit: self.cache_limit,
                cache: self.cache,
            },
        )
        .await?;
        let Opened {
            file,
            tokenizer,
            template,
            marks,
            backend,
            device_reason,
            context,
            plan,
            fits,
        } = opened;
        let total = source.len();
        emit(Event::Planned {
            plan: Box::new(plan),
            parts: file_parts(&file),
        });
        fits?;
        // Its programs are the first that are recorded.
        let is_chosen = |other: &Beside| chosen.as_ref() == Some(&other.name);
        let (first, others): (Vec<Beside>, Vec<Beside>) = adapters.into_iter().partition(is_chosen);
        let options = LoadOptions {
            adapter: first.first().map(|first| first.adapter.as_ref()),
            cache: self.cache,
        };
        let model = Model::load_with(
            backend,
            &context::shortened(&file, context),
            source.as_ref(),
            options,
            &mut |done| {
                emit(Event::Progress { done, total });
            },
        )
        .await?;
        let info = open::Described {
            file: &file,
            source: source.as_ref(),
            context,
            weight_bytes: model.weight_bytes(),
            cache_bytes: model.cache_bytes(),
            chat: template.is_some(),
            device: model.device(),
            device_reason,
            since: start,
        }
        .info()?;
        let mut loaded = LoadedModel {
            marks,
            model,
            tokenizer,
            template,
            info,
            source,
            file,
            adapters: first,
            knows: OnceCell::new(),
            compiler: None,
        };
        for other in others {
            loaded.add_adapter(other).await?;
        }
        loaded.tell_adapters(chosen);
        let info = loaded.info.clone();
        self.loaded = Some(loaded);
        self.device = device;
        // They belong to the model before.
        (self.compared, self.map_scorer, self.tuning) = (None, None, None);
        emit(Event::Loaded {
            model: Box::new(info),
        });
        Ok(())
    }

    /// Do what `command` says: the events that answer it, or `Error`.
    pub async fn handle(&mut self, command: Command, emit: &mut dyn FnMut(Event)) {
        self.stop.clear();
        if let Err(e) = self.answer(command, emit).await {
            emit(Event::Error {
                message: e.to_string(),
            });
        }
    }

    async fn answer(&mut self, command: Command, emit: &mut dyn FnMut(Event)) -> Result<()> {
        let stop = self.stop.clone();
        if self.loaded.is_none() && matches!(command, Command::Reset) {
            return Ok(());
        }
        let loaded = self.loaded.as_mut().ok_or(Error::NoModel)?;
        let compilers = self.compilers.as_deref();
        match command {
            Command::Reset => loaded.model.truncate(0),
            Command::Generate {
                prompt,
                sampling,
                form,
            } => {
                let prompt = Prompt {
                    ids: loaded.tokenizer()?.encode_to_continue(&prompt)?,
                    dropped_messages: 0,
                    goes_on: true,
                    in_turns: false,
                };
                let manner = Manner {
                    sampling: &sampling,
                    constraint: loaded.constraint(compilers, form)?,
                    reader: None,
                };
                generate::run(loaded, prompt, manner, &stop, emit).await?;
            }
            Command::Chat {
                messages,
                sampling,
                demands,
            } => {
                let (ids, dropped) =
                    loaded.chat_prompt(&messages, &demands, sampling.max_tokens)?;
                let prompt = Prompt {
                    ids,
                    dropped_messages: dropped,
                    goes_on: messages
                        .last()
                        .is_some_and(|m| m.role == "assistant" && !m.content.is_empty()),
                    in_turns: true,
                };
                let manner = Manner {
                    sampling: &sampling,
                    constraint: loaded.constraint(compilers, demands.form())?,
                    reader: demands.reader(demands::numbered(&messages)),
                };
                generate::run(loaded, prompt, manner, &stop, emit).await?;
            }
            Command::Adapt { name } => {
                loaded.adapt(name).await?;
                let model = Box::new(loaded.info.clone());
                emit(Event::Loaded { model });
            }
            Command::Move { device } => {
                let (source, adapters) = (loaded.source.clone(), loaded.adapters.clone());
                let chosen = loaded.info.adapter.clone();
                self.try_load(source, adapters, chosen, device, emit)
                    .await?;
            }
        }
        Ok(())
    }

    /// Do the task: the events that answer it, or `Error`.
    pub async fn run_task(&mut self, task: ModelTask, emit: &mut dyn FnMut(Event)) {
        self.stop.clear();
        if let Err(e) = self.try_task(task, emit).await {
            emit(Event::Error {
                message: e.to_string(),
            });
        }
    }

    async fn try_task(&mut self, task: ModelTask, emit: &mut dyn FnMut(Event)) -> Result<()> {
        let (stop, watch) = (self.stop.clone(), self.watch.clone());
        let (device, threads) = (self.device, self.threads);
        let loaded = self.loaded.as_mut().ok_or(Error::NoModel)?;
        match task {
            ModelTask::Weights { name, from } => {
                let compared = self.compared.as_ref();
                let weights = weights::weights(loaded, compared, from, &name).await?;
                emit(Event::Weights {
                    weights: Box::new(weights),
                });
            }
            ModelTask::Preview { name, mode } => {
                let compared = self.compared.as_ref();
                let weights = weights::preview(loaded, compared, &name, mode).await?;
                emit(Event::Weights {
                    weights: Box::new(weights),
                });
                if let Some(tuning) = &mut self.tuning {
                    tuning.tell_weights(&name, emit).await?;
                }
            }
            ModelTask::Figures { map, names } => {
                let compared = self.compared.as_ref();
                weights::figures(loaded, compared, (&map, &names), &stop, emit).await?;
            }
            ModelTask::Measure { map, text } => {
                loaded.unadapted()?;
                explore::measure(
                    &mut self.map_scorer,
                    loaded,
                    (&map, &text),
                    (device, threads),
                    emit,
                )
                .await?;
            }
            ModelTask::Logits { ids } => {
                let mut values = Vec::new();
                let mut take = |rows: &[f32]| {
                    values.extend(rows.iter().flat_map(|v| v.to_le_bytes()));
                };
                loaded.model.logits(&ids, &mut take).await?;
                emit(Event::Logits { values });
            }
            ModelTask::Export { map } => {
                loaded.unadapted()?;
                let bytes = explore::export(loaded, &map).await?;
                let name = file_name(&loaded.info.name, "1bit");
                emit(Event::File { name, bytes });
            }
            ModelTask::Apply { map } => {
                loaded.unadapted()?;
                let bytes = explore::export(loaded, &map).await?;
                let source = MemorySource::new(&loaded.source.name(), bytes);
                self.try_load(Rc::new(source), Vec::new(), None, device, emit)
                    .await?;
            }
            ModelTask::PlanTune { settings } => {
                let plan = tune::plan(loaded, &settings, device, threads).await?;
                emit(Event::TunePlan { plan });
            }
            ModelTask::Tune { settings } => {
                // The one before goes first: two may not fit.
                self.tuning = None;
                let tuning = Tuning::new(loaded, settings, device, threads).await?;
                let tuning = self.tuning.insert(Box::new(tuning));
                emit(tuning.started());
                tuning.run(loaded, (&stop, &watch), emit).await?;
            }
            ModelTask::ContinueTune => {
                let tuning = self.tuning.as_mut().ok_or(Error::NoTuning)?;
                emit(tuning.started());
                tuning.run(loaded, (&stop, &watch), emit).await?;
            }
            ModelTask::RestoreTune { state } => {
                self.tuning = None;
                let tuning = Tuning::restore(loaded, &state, device, threads).await?;
                let tuning = self.tuning.insert(Box::new(tuning));
                emit(tuning.started());
                emit(tuning.stopped());
            }
            ModelTask::ExportTune { keep } => {
                let tuning = self.tuning.as_mut().ok_or(Error::NoTuning)?;
                let name = tune::tuned_name(&loaded.info.name);
                let (name, bytes) = match keep {
                    Keep::Model => (file_name(&name, "1bit"), tuning.model(loaded).await?),
                    Keep::Adapter => {
                        let adapter = tuning.adapter().await?.ok_or(Error::NoAdapter)?;
                        let name = file_name(&format!("{name} adapter"), "safetensors");
                        (name, adapter.to_file(&loaded.file.metadata.config)?)
                    }
                };
                emit(Event::File { name, bytes });
            }
            ModelTask::KeepTune => {
                let tuning = self.tuning.as_mut().ok_or(Error::NoTuning)?;
                match tuning.adapter().await? {
                    Some(adapter) => {
                        let name = loaded.new_adapter_name();
                        let adapter = Rc::new(adapter);
                        loaded
                            .add_adapter(Beside {
                                name: name.clone(),
                                adapter,
                            })
                            .await?;
                        loaded.adapt(Some(name)).await?;
                        let model = Box::new(loaded.info.clone());
                        self.tuning = None;
                        emit(Event::Loaded { model });
                    }
                    None => {
                        let name = tune::tuned_name(&loaded.info.name);
                        let bytes = tuning.model(loaded).await?;
                        let source = MemorySource::new(&file_name(&name, "1bit"), bytes);
                        self.try_load(Rc::new(source), Vec::new(), None, device, emit)
                            .await?;
                    }
                }
            }
            ModelTask::DiscardTune => self.tuning = None,
        }
        Ok(())
    }
}

/// Makes what compiles forms for a model's tokens.
pub trait CompilerMaker {
    /// For this vocabulary.
    ///
    /// # Errors
    /// One that it cannot hold.
    fn compiler(&self, vocabulary: &Vocabulary) -> ternary_grammar::Result<Box<dyn Compiler>>;
}

#[cfg(feature = "grammar")]
fn built_in(tokenizer: &Tokenizer) -> Result<Box<dyn Compiler>> {
    let grammars = ternary_infer::Grammars::new(&vocabulary(tokenizer))?;
    Ok(Box::new(grammars))
}

#[cfg(not(feature = "grammar"))]
fn built_in(_: &Tokenizer) -> Result<Box<dyn Compiler>> {
    Err(Error::NoForms)
}

/// Names the file, once.
fn of_file(name: &str, error: &Error) -> String {
    match error {
        Error::Format(FormatError::Source { .. }) => error.to_string(),
        _ => format!("{name}: {error}"),
    }
}

/// "Stories, fine-tuned" → "stories-fine-tuned.1bit".
fn file_name(title: &str, extension: &str) -> String {
    let words = title.split(|c: char| !c.is_alphanumeric());
    let words: Vec<String> = words
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let stem = match words.is_empty() {
        true => "model".to_owned(),
        false => words.join("-"),
    };
    format!("{stem}.{extension}")
}

impl LoadedModel {
    /// # Errors
    /// A model without a tokenizer.
    pub fn tokenizer(&self) -> Result<&Tokenizer> {
        self.tokenizer.as_ref().ok_or(Error::NoTokenizer)
    }

    /// What holds a reply to `form`.
    fn constraint(
        &mut self,
        compilers: Option<&dyn CompilerMaker>,
        form: Option<Form>,
    ) -> Result<Option<Box<dyn Constraint>>> {
        let Some(form) = form else { return Ok(None) };
        let tokenizer = self.tokenizer.as_ref().ok_or(Error::NoTokenizer)?;
        let compiler = match &mut self.compiler {
            Some(made) => made,
            none => none.insert(match compilers {
                Some(maker) => maker.compiler(&vocabulary(tokenizer))?,
                None => built_in(tokenizer)?,
            }),
        };
        Ok(Some(compiler.constraint(&form)?))
    }

    /// The file's tokenizer.json.
    pub fn tokenizer_json(&self) -> Option<&str> {
        self.file.metadata.tokenizer.as_deref()
    }

    /// The file's chat template.
    pub fn chat_template(&self) -> Option<&str> {
        self.file.metadata.chat_template.as_deref()
    }

    /// Refuse what would leave an adapter out.
    fn unadapted(&self) -> Result<()> {
        match self.info.adapter {
            None => Ok(()),
            Some(_) => Err(Error::AdapterBeside),
        }
    }

    async fn add_adapter(&mut self, adapter: Beside) -> Result<()> {
        if self.has_adapter(&adapter.name) {
            return Err(Error::AdapterNamed { name: adapter.name });
        }
        let file = context::shortened(&self.file, self.info.context);
        let beside = adapter.adapter.as_ref();
        self.model
            .add_adapter(beside, &file, self.source.as_ref())
            .await?;
        self.adapters.push(adapter);
        self.tell_adapters(self.info.adapter.clone());
        Ok(())
    }

    /// Answer with the adapter of this name from now on, or with none.
    async fn adapt(&mut self, name: Option<String>) -> Result<()> {
        let number = match &name {
            Some(name) => {
                let number = self.adapters.iter().position(|other| other.name == *name);
                Some(number.ok_or_else(|| Error::UnknownAdapter {
                    name: name.clone(),
                    known: self.info.adapters.join(", "),
                })?)
            }
            None => None,
        };
        self.model.choose(number).await?;
        self.tell_adapters(name);
        Ok(())
    }

    fn tell_adapters(&mut self, chosen: Option<String>) {
        self.info.adapters = self.adapters.iter().map(|a| a.name.clone()).collect();
        self.info.adapter = chosen;
    }

    /// Whether there is an adapter of this name.
    pub fn has_adapter(&self, name: &str) -> bool {
        self.adapters.iter().any(|other| other.name == name)
    }

    /// A name for what a fine-tuning made.
    fn new_adapter_name(&self) -> String {
        let name = tune::tuned_name(&self.info.name);
        let numbered = (2..).map(|n| format!("{name} {n}"));
        let mut names = std::iter::once(name.clone()).chain(numbered);
        // There are fewer adapters than numbers.
        names
            .find(|name| !self.has_adapter(name))
            .unwrap_or_else(|| name.clone())
    }

    /// The prompt of a conversation, and how many of its oldest messages after the system's were
    /// left out because a reply of `longest` tokens, or of a quarter of the context, would not fit
    /// otherwise.
    fn chat_prompt(
        &self,
        messages: &[Message],
        demands: &Demands,
        longest: usize,
    ) -> Result<(Vec<u32>, usize)> {
        let template = self.template.as_ref().ok_or(Error::NoChatTemplate)?;
        let tokenizer = self.tokenizer()?;
        let tools = !demands.tools.is_empty() || messages.iter().any(Message::is_about_tools);
        let knows = tools.then(|| *self.knows.get_or_init(|| TemplateTools::of(template)));
        let encode = |messages: &[Message]| match knows {
            None => encode_chat(tokenizer, template, messages),
            Some(knows) => {
                let (template, messages) = demands.prepared(template.clone(), knows, messages);
                encode_chat(tokenizer, &template, &messages)
            }
        };
        let ids = encode(messages)?;
        let context = self.model.config().max_seq_len;
        if ids.len() + longest.min(context / 4) <= context {
            return Ok((ids, 0));
        }
        let system = messages.iter().take_while(|m| m.role == "system").count();
        let turns: Vec<usize> = (system..messages.len())
            .filter(|i| messages[*i].role == "user")
            .collect();
        let from = |start: usize| [&messages[..system], &messages[start..]].concat();
        // Half of the context becomes free: with the oldest turn left out each time, everything
        // would be read again each time.
        let (mut first, mut end) = (0, turns.len().saturating_sub(1));
        while first < end {
            let middle = usize::midpoint(first, end);
            if encode(&from(turns[middle]))?.len() <= context / 2 {
                end = middle;
            } else {
                first = middle + 1;
            }
        }
        match turns.get(first) {
            Some(start) if *start > system => Ok((encode(&from(*start))?, start - system)),
            _ => Ok((ids, 0)),
        }
    }
}

#[cfg(test)]
mod tests;
