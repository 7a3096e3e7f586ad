//! What the page and its workers say to each other: requests with ids, responses to them, and
//! notifications.
//!
//! Around the engine's own commands and events stands only what the engine does not know: where a
//! file is, and that the worker itself can fail.

use serde::{Deserialize, Serialize};
use ternary::config::{CachePrecision, QuantMode};
use ternary::data::Conversation;
use ternary::hub::Repository;
use ternary::import::Survey;
use ternary::session::suite::{Part, SuiteOptions};
use ternary::session::{Command, DeviceChoice, Event, FilePart, ModelTask};

/// What keys and values of a model's context may take in a page, which is not told how much memory
/// there is: on a phone much less than a program can address.
pub const CACHE_LIMIT: u64 = 1 << 30;
/// How a page keeps them.
pub const CACHE: CachePrecision = CachePrecision::F16;

/// Tells other tabs that the kept models are others now.
pub const KEPT_CHANNEL: &str = "ternary-core.models";

/// Of a request to any worker of the page; never used twice.
pub type RequestId = u32;

/// From the page to a worker.
#[derive(Debug, Serialize, Deserialize)]
pub struct ToWorker<T = Task> {
    pub id: RequestId,
    pub request: Request<T>,
}

/// A request that arrives while another runs waits, unless it says otherwise.
///
/// `T` is what a worker understands of [`Task`]: one that only chats does without the code that
/// reads it.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request<T = Task> {
    Load {
        source: Source,
        device: DeviceChoice,
        /// How keys and values are kept.
        kv: CachePrecision,
        /// The CPU's; 0 for as many as the page may have.
        #[serde(default)]
        threads: usize,
    },
    Run(Command),
    /// Understood by the full worker alone.
    Task(T),
    /// End the reply or the fine-tuning that this request asked for after its current token or
    /// step. Does not wait.
    Stop(RequestId),
    /// Give up this load or import, under way or still waiting; it is answered by
    /// `Response::Cancelled`. What has arrived of another site stays for the next attempt; of an
    /// import of opened files nothing stays. Does not wait.
    Cancel(RequestId),
    /// This matrix is looked at, or none: a fine-tuning tells what becomes of it. Does not wait.
    Watch(Option<String>),
    /// About the models kept in this browser. Does not wait.
    Store(StoreRequest),
}

/// What changes models.
#[derive(Debug, Serialize, Deserialize)]
pub enum Task {
    Model(ModelTask),
    /// Read files as texts to learn from. Answered by `Response::Texts`.
    ReadTexts(Vec<TextFile>),
    /// Answer with these adapters beside the loaded model, all at once; with none, as it is.
    /// Answered as a load is.
    Adapt {
        adapters: Vec<AdapterSource>,
        device: DeviceChoice,
    },
    /// Have an adapter beside the loaded model that `Command::Adapt` can name. Answered as a load
    /// is.
    AddAdapter {
        name: String,
        adapter: AdapterSource,
    },
    /// Keep an adapter of the loaded model in this browser, as one file. Answered by
    /// `Response::Kept`.
    KeepAdapter {
        adapter: AdapterSource,
        name: String,
    },
    /// Open a file beside the loaded model.
    Compare {
        source: Source,
    },
    /// Take up the fine-tuning that the browser keeps; its model is loaded as `Source::Tuning`
    /// before.
    RestoreTune,
    /// Forget the fine-tuning that the browser keeps.
    ForgetTune,
    /// Look at a published model. Answered by `Response::Surveyed`.
    Survey(Files),
    /// Look for a model on the hub at this address. Answered by `Response::Found`.
    Find {
        hub: String,
        repository: Repository,
    },
    /// Keep the loaded model's file in this browser, under a name that no other kept model has.
    /// Answered by `Response::Kept`.
    Keep {
        name: String,
    },
    /// Run a part of the suite that measures this device. Answered by `Response::Measuring`s, and
    /// by an `Event::Error` if it fails.
    Measure {
        part: Part,
        options: SuiteOptions,
        /// What `Part::Rates` found, as JSON; empty before it ran.
        rates: String,
    },
    /// Make a published model one of those kept in this browser. Answered by `Response::Kept`.
    Import {
        files: Files,
        choices: Choices,
        /// The kept model that this is to finish. If the files are others by now, it goes, and
        /// `Response::BeganAgain` tells so.
        finishes: Option<String>,
    },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum StoreRequest {
    /// Answered by `Response::KeptModels`.
    List,
    /// Answered by `Response::Kept`. `Notification::KeptModels` comes with the answer, as it does
    /// after deleting.
    Keep(#[serde(with = "serde_wasm_bindgen::preserve")] web_sys::File),
    Delete {
        id: String,
        name: String,
    },
    /// Call a kept model something else; another's name gets a number behind it.
    Rename {
        id: String,
        name: String,
    },
    /// Answered by `Response::Save`.
    Save {
        id: String,
        name: String,
    },
}

/// What the reader chose for an import; without a choice, what the importer proposes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Choices {
    /// Of embedding and head, which else stay as they are where they are ternary or binary.
    pub head: Option<QuantMode>,
    /// Of the matrices between them that are floats in the files.
    pub body: Option<QuantMode>,
    /// A shorter context than the model's, in tokens.
    pub context: Option<usize>,
}

/// The files of a published model.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Files {
    /// What the model's file is to be called.
    pub name: String,
    /// What the model calls itself; `None`: as the files say.
    #[serde(default)]
    pub title: Option<String>,
    pub files: Vec<Handle>,
    /// Those that are read where they are.
    #[serde(default)]
    pub remote: Vec<RemoteFile>,
    /// Where they are from, as the reader asked for it.
    #[serde(default)]
    pub repository: Option<Repository>,
}

/// A file on another site that answers requests for parts of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RemoteFile {
    pub name: String,
    pub url: String,
    pub bytes: u64,
    /// In hexadecimal digits, where the site tells of it.
    pub sha256: Option<String>,
}

/// A model that was found on the hub.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Found {
    pub files: Files,
    /// Of its files together.
    pub bytes: u64,
    /// Which file was taken of several, and why; empty where it was named.
    pub why: String,
    /// The GGUF models of the repository, the best first.
    pub offered: Vec<Offered>,
    pub license: Option<String>,
}

/// A model that a repository has, too.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Offered {
    pub path: String,
    /// Of all its parts.
    pub bytes: u64,
    /// It is the one that was found.
    pub is_taken: bool,
}

/// Where an adapter is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum AdapterSource {
    /// Opened: its weights, and its configuration if that is a file of its own.
    Files(Vec<Handle>),
    /// In this browser.
    Kept { id: String },
}

/// Bytes of texts to learn from: more take longer to tokenize than anybody waits.
pub const LARGEST_TEXT: f64 = 32e6;

/// A text file, by its path in what was dropped.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TextFile {
    pub path: String,
    pub file: Handle,
}

/// What came of reading texts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Texts {
    /// All of them, one after the other.
    pub text: String,
    /// Those of files with conversations, which are no texts.
    pub conversations: Vec<Conversation>,
    /// The files that are in it.
    pub taken: Vec<String>,
    /// Those that are not, and why.
    pub left_out: Vec<String>,
    /// What is odd about those that are.
    pub notes: Vec<String>,
}

/// A file as a handle: its bytes stay where they are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Handle(#[serde(with = "serde_wasm_bindgen::preserve")] pub web_sys::File);

/// Where a model comes from. A file crosses as a handle; its bytes stay where they are until the
/// worker reads them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Source {
    /// The model that `models/index.json` names.
    Shipped,
    Url(String),
    File(#[serde(with = "serde_wasm_bindgen::preserve")] web_sys::File),
    /// A model kept in this browser.
    Stored {
        id: String,
        name: String,
    },
    /// The model that the kept fine-tuning began with.
    Tuning,
    /// A model that this page's server answers with: the first one where the name is empty. The key
    /// is empty where it asks for none, and until the model is asked for.
    Server {
        model: String,
        key: String,
    },
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
            Source::Stored { name, .. } => name.clone(),
            Source::Tuning => "the model of the fine-tuning".to_owned(),
            Source::Server { model, .. } => match model.as_str() {
                "" => "the server's model".to_owned(),
                model => model.to_owned(),
            },
        }
    }

    /// Where a later visit finds it again; what was only opened it does not.
    pub fn origin(&self) -> Option<Origin> {
        match self {
            Source::Shipped => Some(Origin::Shipped),
            Source::Url(url) => Some(Origin::Url(url.clone())),
            Source::Stored { id, name } => Some(Origin::Stored {
                id: id.clone(),
                name: name.clone(),
            }),
            Source::Server { model, .. } => Some(Origin::Server {
                model: model.clone(),
            }),
            Source::File(_) | Source::Tuning => None,
        }
    }
}

/// Where a model comes from that a later visit can have, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// See [`Source::Shipped`].
    Shipped,
    Url(String),
    /// See [`Source::Stored`].
    Stored {
        id: String,
        name: String,
    },
    /// See [`Source::Server`].
    Server {
        model: String,
    },
}

impl Origin {
    /// Whether it is the same model: a kept one may be called something else by now.
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Origin::Stored { id, .. }, Origin::Stored { id: other, .. }) => id == other,
            _ => self == other,
        }
    }
}

impl From<Origin> for Source {
    fn from(origin: Origin) -> Self {
        match origin {
            Origin::Shipped => Source::Shipped,
            Origin::Url(url) => Source::Url(url),
            Origin::Stored { id, name } => Source::Stored { id, name },
            Origin::Server { model } => Source::Server {
                model,
                key: String::new(),
            },
        }
    }
}

/// A model in this browser's own store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptModel {
    pub id: String,
    pub name: String,
    /// Where it came from, if it was downloaded.
    pub url: Option<String>,
    /// The repository of the hub that it was imported from.
    #[serde(default)]
    pub repository: Option<String>,
    /// It is an adapter, of the model that is called so.
    #[serde(default)]
    pub adapter_of: Option<String>,
    /// In all, and of these here: fewer after an interruption.
    pub bytes: u64,
    pub present: u64,
    /// How to go on with it, if it is an import that did not end.
    #[serde(default)]
    pub unfinished: Option<Unfinished>,
}

/// What it takes to go on with an import that did not end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unfinished {
    pub repository: Repository,
    /// See [`Files::title`].
    pub title: Option<String>,
    pub choices: Choices,
}

impl KeptModel {
    pub fn complete(&self) -> bool {
        self.present == self.bytes && self.unfinished.is_none()
    }
}

/// All models kept in this browser, and the room for them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptModels {
    pub models: Vec<KeptModel>,
    /// Bytes this page uses of those the browser lets it have; 0 where it does not tell.
    pub used: u64,
    pub quota: u64,
    /// Whether the browser promised not to clear them by itself.
    pub persisted: bool,
    /// Why this browser can keep nothing.
    pub missing: Option<String>,
}

/// From a worker to the page.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromWorker {
    /// To the request with this id. The last one to each is `Done`.
    Response {
        id: RequestId,
        response: Response,
    },
    Notification(Notification),
}

/// Part of what answers a request.
#[derive(Debug, Serialize, Deserialize)]
pub enum Response {
    /// Nothing more comes: what there was to say to the request was said.
    Done,
    /// What the session says of the request. `Event::Error`: it failed.
    Event(Event),
    /// Bytes of a model fetched so far; `total` is 0 when the server did not say.
    Fetched {
        done: u64,
        total: u64,
    },
    /// What the file holds that is being fetched or written. As many bytes as an offset tells come
    /// before that part.
    Parts(Vec<FilePart>),
    /// The model of the server that is taken, and all that it has, by their names.
    Served {
        model: String,
        models: Vec<String>,
    },
    /// No model comes with this page.
    NothingShipped,
    /// The load or import was given up on request.
    Cancelled,
    /// The load could not get its file; another attempt goes on where this one ended.
    Unreachable(String),
    /// A kept model is not what was kept. One that can be had again from `url` is gone now.
    Damaged {
        message: String,
        url: Option<String>,
    },
    KeptModels(KeptModels),
    /// A kept model, to be saved as a file of the reader's.
    Save {
        name: String,
        file: Handle,
    },
    Surveyed(Box<Survey>),
    Found(Box<Found>),
    Texts(Texts),
    /// The import that this was to finish is of other files: it begins again.
    BeganAgain,
    /// Bytes of the `.1bit` written so far.
    Importing {
        done: u64,
        total: u64,
        tensor: String,
    },
    /// Of a part of the suite: a line for who watches, or all that it has found so far, as JSON.
    Measuring {
        line: Option<String>,
        found: Option<String>,
    },
    /// It is kept now.
    Kept {
        id: String,
        name: String,
    },
}

/// What a worker says without being asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Notification {
    /// The worker listens.
    Ready,
    /// The kept models may be others than they were.
    KeptModels(KeptModels),
    /// The browser keeps the fine-tuning that `request` asked for as it was after this step.
    TuneSaved { request: RequestId, step: usize },
    /// A fine-tuning of an earlier visit can go on.
    UnfinishedTune { step: usize, steps: usize },
    /// The GPU is gone, and with it the model on it. Sent after the failure that showed it.
    DeviceLost,
    /// What could not be done, where no request is known for it.
    Failed(String),
    /// The engine died; only a new worker helps.
    Panicked(String),
}

/// A name for a file with these properties: 64-bit FNV-1a, the same in every version of this page.
pub fn kept_id(properties: &[&str]) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in properties.join("\n").bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    format!("{hash:016x}")
}

/// The id under which a file that the reader opened is kept.
pub fn opened_id(file: &web_sys::File) -> String {
    let (bytes, modified) = (file.size() as u64, file.last_modified());
    kept_id(&[&file.name(), &bytes.to_string(), &modified.to_string()])
}
