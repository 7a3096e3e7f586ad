//! Models kept in this browser, in the origin-private file system: of each one its bytes, and a
//! card that says what it is; of one that is being imported its journal, too.
//!
//! A file's name is made of where it came from and which version it is. So a file that changed at
//! its source is another file, what is there of one can be continued, and two tabs that fetch the
//! same model meet at the same file, which only one can write.

use std::time::Duration;

use js_sys::{Promise, Uint8Array};
use serde::{Deserialize, Serialize};
use ternary::format::ByteSource;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    Blob, File, FileSystemDirectoryHandle, FileSystemFileHandle, FileSystemGetDirectoryOptions,
    FileSystemGetFileOptions, FileSystemReadWriteOptions, FileSystemSyncAccessHandle,
    StorageManager,
};

use super::{http, journal, scope};
use crate::js::{describe, field};
use crate::protocol::{KeptModel, KeptModels, Unfinished, kept_id, opened_id};

const FOLDER: &str = "models";
const CARD: &str = ".json";
/// Of the names of models and adapters.
const ENDINGS: [&str; 2] = [".1bit", ".safetensors"];
/// As in a private window, and where the page is neither https nor local.
const NONE: &str = "this browser keeps no files for this page, as in a private window";
/// Bytes of a file copied at a time.
const PIECE: u64 = 4 << 20;
/// What browsers call the refusal of a file that is open for writing.
const TAKEN: &str = "NoModificationAllowedError";
/// And of one that is not there.
const NOT_FOUND: &str = "NotFoundError";
/// How often such a file is asked for again, and how long after each time.
const CLOSING: usize = 8;
const MOMENT: Duration = Duration::from_millis(25);

/// What is known of a model besides its bytes. Small, written before them.
#[derive(Serialize, Deserialize)]
pub struct Card {
    pub name: String,
    pub url: Option<String>,
    /// In all; 0 as long as nobody knows.
    pub bytes: u64,
    /// The repository of the hub that it was imported from.
    #[serde(default)]
    pub repository: Option<String>,
    /// It is an adapter, of the model that is called so.
    #[serde(default)]
    pub adapter_of: Option<String>,
    /// How to go on with an import that did not end.
    #[serde(default)]
    pub unfinished: Option<Unfinished>,
}

pub struct Store {
    folder: FileSystemDirectoryHandle,
}

impl Store {
    pub async fn open() -> Result<Self, String> {
        Self::folder(FOLDER).await
    }

    /// A folder of its own, made if it is not there.
    pub async fn folder(name: &str) -> Result<Self, String> {
        let storage = storage().filter(can_keep).ok_or(NONE)?;
        let options = FileSystemGetDirectoryOptions::new();
        options.set_create(true);
        let open = async {
            let root: FileSystemDirectoryHandle =
                JsFuture::from(storage.get_directory()).await?.into();
            JsFuture::from(root.get_directory_handle_with_options(name, &options)).await
        };
        let folder = open
            .await
            .map_err(|thrown| format!("{NONE} ({})", describe(thrown)))?;
        Ok(Self {
            folder: folder.into(),
        })
    }

    pub async fn list(&self) -> Result<Vec<KeptModel>, String> {
        let names = self.folder.keys();
        let mut ids = Vec::new();
        loop {
            let step = JsFuture::from(names.next().map_err(describe)?);
            let step = step.await.map_err(describe)?;
            if field(&step, "done").is_truthy() {
                break;
            }
            let name = field(&step, "value").as_string().unwrap_or_default();
            ids.extend(name.split('.').next().map(str::to_owned));
        }
        ids.sort();
        ids.dedup();
        let mut models = Vec::new();
        for id in ids {
            match self.kept(&id).await {
                // An import under way has its own place in the page that makes it.
                Some(kept) if kept.unfinished.is_some() && self.is_held(&id).await => {}
                Some(kept) if kept.has_begun() => models.push(kept),
                _ => models.extend(self.tidy(&id).await),
            }
        }
        // Without endings: “a” before “a (2)”.
        models.sort_by(|a, b| (parts(&a.name), &a.id).cmp(&(parts(&b.name), &b.id)));
        Ok(models)
    }

    pub async fn kept(&self, id: &str) -> Option<KeptModel> {
        let card = self.file(&format!("{id}{CARD}")).await.ok()?;
        let text = JsFuture::from(card.text()).await.ok()?.as_string()?;
        let card: Card = serde_json::from_str(&text).ok()?;
        let (present, bytes) = match &card.unfinished {
            // The file may have gaps.
            Some(_) => self.imported(id).await,
            None => {
                let file = self.file(id).await;
                (file.map_or(0, |file| file.size() as u64), card.bytes)
            }
        };
        Some(KeptModel {
            id: id.to_owned(),
            name: card.name,
            url: card.url,
            repository: card.repository,
            adapter_of: card.adapter_of,
            bytes,
            present,
            unfinished: card.unfinished,
        })
    }

    /// Bytes that an import has written, and all that it has to, by its journal.
    async fn imported(&self, id: &str) -> (u64, u64) {
        let Ok(lines) = self.file(&format!("{id}{}", journal::LINES)).await else {
            return (0, 0);
        };
        let text = JsFuture::from(lines.text()).await.unwrap_or_default();
        journal::progress(text.as_string().unwrap_or_default().as_bytes())
    }

    /// Removes what a browser left that ended at a bad moment: a model's bytes without a card, or
    /// a card without any. What is being written has its bytes open, until its card is there; so
    /// they are held meanwhile, and a card that came since is given.
    async fn tidy(&self, id: &str) -> Option<KeptModel> {
        let held = match self.hold(id).await {
            Err(thrown) if kind(&thrown) == TAKEN => return None,
            held => held.ok(),
        };
        let kept = self.kept(id).await.filter(KeptModel::has_begun);
        if kept.is_none() {
            for ending in [CARD, journal::LINES, journal::PIECES] {
                let file = format!("{id}{ending}");
                JsFuture::from(self.folder.remove_entry(&file)).await.ok();
            }
        }
        if let Some(held) = held {
            drop(held);
            if kept.is_none() {
                JsFuture::from(self.folder.remove_entry(id)).await.ok();
            }
        }
        kept
    }

    /// Opens a file that is there, so that nobody else can write or delete it.
    async fn hold(&self, file: &str) -> Result<Writer, JsValue> {
        let file: FileSystemFileHandle = JsFuture::from(self.folder.get_file_handle(file))
            .await?
            .into();
        let handle = JsFuture::from(file.create_sync_access_handle()).await?;
        Ok(Writer {
            handle: handle.into(),
            at: 0,
        })
    }

    /// Whether an import holds its journal: here, or in another tab.
    async fn is_held(&self, id: &str) -> bool {
        let held = self.hold(&format!("{id}{}", journal::LINES)).await;
        held.is_err_and(|thrown| kind(&thrown) == TAKEN)
    }

    /// What an import needed besides the model's bytes goes.
    pub async fn end_journal(&self, id: &str) {
        for ending in [journal::LINES, journal::PIECES] {
            // What is left takes room and does no harm.
            let file = format!("{id}{ending}");
            when_free(|| self.folder.remove_entry(&file)).await.ok();
        }
    }

    /// `wanted`, with a number where another model than `id` is called so already.
    pub async fn free_name(&self, wanted: &str, id: &str) -> Result<String, String> {
        let taken: Vec<String> = self
            .list()
            .await?
            .into_iter()
            .filter(|kept| kept.id != id)
            .map(|kept| kept.name)
            .collect();
        let (stem, ending) = parts(wanted);
        let numbered = (2..).map(|n| format!("{stem} ({n}){ending}"));
        let mut names = std::iter::once(wanted.to_owned()).chain(numbered);
        let free = names.find(|name| !taken.contains(name));
        Ok(free.unwrap_or_default())
    }

    /// Calls a model something else.
    pub async fn rename(&self, id: &str, name: &str) -> Result<(), String> {
        let kept = self.kept(id).await.ok_or("it is not kept any more")?;
        let card = Card {
            name: self.free_name(name, id).await?,
            url: kept.url,
            bytes: kept.bytes,
            repository: kept.repository,
            adapter_of: kept.adapter_of,
            unfinished: kept.unfinished,
        };
        self.put_card(id, &card).await
    }

    /// The complete model that came from `url`.
    pub async fn of_url(&self, url: &str) -> Option<KeptModel> {
        let models = self.list().await.ok()?;
        let from_there = |kept: &KeptModel| kept.url.as_deref() == Some(url) && kept.complete();
        models.into_iter().find(from_there)
    }

    pub async fn file(&self, id: &str) -> Result<File, String> {
        let read = async {
            let handle: FileSystemFileHandle = JsFuture::from(self.folder.get_file_handle(id))
                .await?
                .into();
            JsFuture::from(handle.get_file()).await
        };
        Ok(read.await.map_err(describe)?.into())
    }

    /// Opens a model's bytes for writing, behind those that are there. No other tab can then write
    /// or delete them.
    pub async fn write(&self, id: &str, card: &Card) -> Result<Writer, String> {
        let writer = self.writer(id, &card.name).await?;
        self.put_card(id, card).await?;
        Ok(writer)
    }

    pub async fn put_card(&self, id: &str, card: &Card) -> Result<(), String> {
        let text = serde_json::to_string(card).map_err(|problem| problem.to_string())?;
        let mut writer = self.writer(&format!("{id}{CARD}"), &card.name).await?;
        writer.clear()?;
        writer.push(&Uint8Array::from(text.as_bytes()))
    }

    pub async fn writer(&self, id: &str, name: &str) -> Result<Writer, String> {
        let options = FileSystemGetFileOptions::new();
        options.set_create(true);
        let open = async || {
            let file = self.folder.get_file_handle_with_options(id, &options);
            let file: FileSystemFileHandle = JsFuture::from(file).await?.into();
            let handle = when_free(|| file.create_sync_access_handle()).await?;
            let handle: FileSystemSyncAccessHandle = handle.into();
            let at = handle.get_size()? as u64;
            Ok::<_, JsValue>((handle, at))
        };
        let opened = match open().await {
            // It was tidied away since it was made.
            Err(thrown) if kind(&thrown) == NOT_FOUND => open().await,
            opened => opened,
        };
        let (handle, at) = opened.map_err(|thrown| busy(name, thrown))?;
        Ok(Writer { handle, at })
    }

    pub async fn delete(&self, id: &str, name: &str) -> Result<(), String> {
        for ending in ["", journal::PIECES, journal::LINES, CARD] {
            let file = format!("{id}{ending}");
            match when_free(|| self.folder.remove_entry(&file)).await {
                Ok(_) => {}
                // Deleted already, or never begun.
                Err(thrown) if kind(&thrown) == NOT_FOUND => {}
                Err(thrown) => return Err(busy(name, thrown)),
            }
        }
        Ok(())
    }

    /// Copies a file that the reader opened; gives its id and the name it got.
    pub async fn keep(&self, file: &File) -> Result<(String, String), String> {
        let bytes = file.size() as u64;
        let id = opened_id(file);
        let card = Card {
            name: self.free_name(&file.name(), &id).await?,
            url: None,
            bytes,
            repository: None,
            adapter_of: None,
            unfinished: None,
        };
        room_for(bytes).await?;
        let mut writer = self.write(&id, &card).await?;
        let blob: &Blob = file;
        while writer.at < bytes {
            let end = bytes.min(writer.at + PIECE);
            let piece = blob
                .slice_with_f64_and_f64(writer.at as f64, end as f64)
                .map_err(describe)?;
            let piece = JsFuture::from(piece.array_buffer()).await;
            writer.push(&Uint8Array::new(&piece.map_err(describe)?))?;
        }
        Ok((id, card.name))
    }

    /// Copies a model, or an adapter of one, from wherever its bytes are; gives its id and the name
    /// it got.
    pub async fn copy(
        &self,
        source: &dyn ByteSource,
        wanted: &str,
        adapter_of: Option<String>,
    ) -> Result<(String, String), String> {
        let bytes = source.len();
        // No other: the same model may be kept twice, as it was and as it became.
        let now = js_sys::Date::now().to_string();
        let id = kept_id(&[wanted, &bytes.to_string(), &now]);
        let card = Card {
            name: self.free_name(wanted, &id).await?,
            url: None,
            bytes,
            repository: None,
            adapter_of,
            unfinished: None,
        };
        room_for(bytes).await?;
        let mut writer = self.writer(&id, &card.name).await?;
        while writer.at < bytes {
            let piece = PIECE.min(bytes - writer.at);
            let read = source.read(writer.at, piece as usize).await?;
            writer.push(&Uint8Array::from(&read[..]))?;
        }
        // Last: without it nobody takes half a file for a model.
        self.put_card(&id, &card).await?;
        Ok((id, card.name))
    }

    pub async fn contents(&self) -> Result<KeptModels, String> {
        let (used, quota) = estimate().await;
        let persisted = match storage().and_then(|storage| storage.persisted().ok()) {
            Some(asked) => JsFuture::from(asked).await.is_ok_and(|yes| yes.is_truthy()),
            None => false,
        };
        Ok(KeptModels {
            models: self.list().await?,
            used,
            quota,
            persisted,
            missing: None,
        })
    }
}

/// A file open for writing; closed when dropped.
pub struct Writer {
    handle: FileSystemSyncAccessHandle,
    at: u64,
}

impl Writer {
    pub fn len(&self) -> u64 {
        self.at
    }

    pub fn push(&mut self, part: &Uint8Array) -> Result<(), String> {
        let options = at(self.at);
        let written = self
            .handle
            .write_with_buffer_source_and_options(part, &options);
        self.at += check(written, u64::from(part.byte_length()))?;
        Ok(())
    }

    /// Puts bytes anywhere in the file.
    pub fn put(&mut self, offset: u64, bytes: &[u8]) -> Result<(), String> {
        let options = at(offset);
        let written = self.handle.write_with_u8_array_and_options(bytes, &options);
        let end = offset + check(written, bytes.len() as u64)?;
        self.at = self.at.max(end);
        Ok(())
    }

    /// A part of what is there.
    pub fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; len];
        let read = self
            .handle
            .read_with_u8_array_and_options(&mut bytes, &at(offset));
        match read.map_err(describe)? as usize == len {
            true => Ok(bytes),
            false => Err(format!("it ends before {}", offset + len as u64)),
        }
    }

    /// Has what was written last beyond the end of the browser. What can't be is found missing
    /// when the file is opened again.
    pub fn flush(&self) {
        self.handle.flush().ok();
    }

    /// Starts again from nothing.
    pub fn clear(&mut self) -> Result<(), String> {
        self.cut(0)
    }

    /// Leaves the first `bytes` of what is there.
    pub fn cut(&mut self, bytes: u64) -> Result<(), String> {
        self.at = bytes;
        self.handle
            .truncate_with_f64(bytes as f64)
            .map_err(describe)
    }
}

fn at(offset: u64) -> FileSystemReadWriteOptions {
    let options = FileSystemReadWriteOptions::new();
    options.set_at(offset as f64);
    options
}

/// Bytes that were written, if they are all.
fn check(written: Result<f64, JsValue>, asked: u64) -> Result<u64, String> {
    let written = written.map_err(|thrown| match kind(&thrown).as_str() {
        "QuotaExceededError" => {
            "this browser gives this page no more room: delete a kept model and try again"
                .to_owned()
        }
        _ => describe(thrown),
    })? as u64;
    if written == asked {
        Ok(written)
    } else {
        Err("the disk is full".to_owned())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.flush();
        self.handle.close();
    }
}

/// A name and its ending, if it is one of those known here.
fn parts(name: &str) -> (&str, &'static str) {
    let ending = ENDINGS.into_iter().find(|ending| name.ends_with(ending));
    let ending = ending.unwrap_or_default();
    (name.strip_suffix(ending).unwrap_or(name), ending)
}

/// An error unless the browser has room for so many bytes, as far as it tells.
pub async fn room_for(bytes: u64) -> Result<(), String> {
    let (used, quota) = estimate().await;
    if quota == 0 || used.saturating_add(bytes) <= quota {
        return Ok(());
    }
    Err(format!(
        "it has {:.0} MB, and this browser gives this page {:.0} MB more: delete a kept model first",
        bytes as f64 / 1e6,
        quota.saturating_sub(used) as f64 / 1e6
    ))
}

/// Bytes used, and the most there can be.
async fn estimate() -> (u64, u64) {
    let Some(asked) = storage().and_then(|storage| storage.estimate().ok()) else {
        return (0, 0);
    };
    let estimate = JsFuture::from(asked).await.unwrap_or_default();
    let number = |name: &str| field(&estimate, name).as_f64().unwrap_or(0.0) as u64;
    (number("usage"), number("quota"))
}

fn storage() -> Option<StorageManager> {
    let storage = field(&scope().navigator(), "storage");
    storage.dyn_into().ok()
}

/// Whether a browser that has this has files, too, and lets workers write them.
fn can_keep(storage: &StorageManager) -> bool {
    let handle = field(&field(&scope(), "FileSystemFileHandle"), "prototype");
    field(storage, "getDirectory").is_function()
        && field(&handle, "createSyncAccessHandle").is_function()
}

/// Asks again for a while: a file that was closed is free only a moment later.
async fn when_free(ask: impl Fn() -> Promise) -> Result<JsValue, JsValue> {
    for _ in 0..CLOSING {
        match JsFuture::from(ask()).await {
            Err(thrown) if kind(&thrown) == TAKEN => http::sleep(MOMENT).await,
            other => return other,
        }
    }
    JsFuture::from(ask()).await
}

fn busy(name: &str, thrown: JsValue) -> String {
    if kind(&thrown) == TAKEN {
        return format!(
            "{name} is being downloaded or kept just now, here or in another tab: wait for that to end"
        );
    }
    describe(thrown)
}

/// The kind of an error as browsers name it, e.g. "AbortError".
fn kind(thrown: &JsValue) -> String {
    field(thrown, "name").as_string().unwrap_or_default()
}

impl KeptModel {
    /// Of an import that did not end something is there.
    fn has_begun(&self) -> bool {
        self.unfinished.is_none() || self.present > 0
    }
}
