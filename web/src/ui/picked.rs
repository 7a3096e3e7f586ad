//! What the reader dropped or chose: a file, several, a folder.

use js_sys::{Array, Function, Promise};
use leptos::prelude::Set;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{
    DataTransfer, File, FileList, FileSystemDirectoryEntry, FileSystemEntry, FileSystemFileEntry,
};

use super::state::{AppState, Tab, is_export};
use super::{explorer, tuner};
use crate::js::{describe, field};
use crate::protocol::{Files, Handle, Source};
use crate::ui::files::text;

/// Published models that are one file, or have a file that says so.
const PUBLISHED: [&str; 3] = [".gguf", ".safetensors", ".safetensors.index.json"];
const TEXTS: [&str; 7] = [".txt", ".md", ".csv", ".jsonl", ".html", ".rs", ".py"];

pub struct Picked {
    /// The folder they are in, if that was picked.
    folder: Option<String>,
    files: Vec<File>,
}

impl Picked {
    /// Of a file picker. One for folders lists what is in folders inside it, too, which is no part of a model.
    pub fn chosen(list: &FileList) -> Self {
        let path = |file: &File| {
            field(file, "webkitRelativePath")
                .as_string()
                .unwrap_or_default()
        };
        let all = (0..list.length()).filter_map(|i| list.get(i));
        let mut folder = None;
        let mut files = Vec::new();
        for file in all {
            match path(&file).split('/').collect::<Vec<_>>().as_slice() {
                [name, _] => {
                    folder = Some((*name).to_owned());
                    files.push(file);
                }
                [_] => files.push(file),
                _ => {}
            }
        }
        Self { folder, files }
    }

    /// What `data` carries, which is gone when its event is over.
    pub fn dropped(data: &DataTransfer) -> impl Future<Output = Result<Self, String>> + use<> {
        let items = data.items();
        let items = (0..items.length()).filter_map(|i| items.get(i));
        let entries = items.filter_map(|item| item.webkit_get_as_entry().ok().flatten());
        let folder = entries
            .filter(FileSystemEntry::is_directory)
            .map(JsCast::unchecked_into::<FileSystemDirectoryEntry>)
            .next();
        let files = data.files().map(|list| Self::chosen(&list));
        async move {
            match folder {
                Some(folder) => inside(&folder).await.map_err(describe),
                None => files.ok_or_else(|| "nothing was dropped".to_owned()),
            }
        }
    }
}

/// The files of a folder, not of folders in it.
async fn inside(folder: &FileSystemDirectoryEntry) -> Result<Picked, JsValue> {
    let reader = folder.create_reader();
    let mut files = Vec::new();
    loop {
        // A part of them at a time; nothing when all have come.
        let some =
            promise(|done, failed| reader.read_entries_with_callback_and_callback(done, failed));
        let some: Array = JsFuture::from(some).await?.unchecked_into();
        if some.length() == 0 {
            break;
        }
        for entry in some
            .iter()
            .map(JsCast::unchecked_into::<FileSystemFileEntry>)
        {
            if entry.is_file() {
                let file = promise(|done, failed| {
                    entry.file_with_callback_and_callback(done, failed);
                    Ok(())
                });
                files.push(JsFuture::from(file).await?.unchecked_into());
            }
        }
    }
    Ok(Picked {
        folder: Some(folder.name()),
        files,
    })
}

fn promise(call: impl Fn(&Function, &Function) -> Result<(), JsValue>) -> Promise {
    Promise::new(&mut |done, failed| {
        if let Err(problem) = call(&done, &failed) {
            // Fails only if a promise can't be rejected.
            failed.call1(&JsValue::NULL, &problem).ok();
        }
    })
}

impl AppState {
    /// What was dropped or chosen goes where its kind belongs.
    pub fn take(self, picked: Picked) {
        let Picked { folder, files } = picked;
        let ending = |all: &[&str]| files.iter().find(|file| ends(file, all));
        if let Some(file) = ending(&[".1bit"]) {
            self.panel_open.set(false);
            return self.load(Source::File(file.clone()));
        }
        let published = ending(&PUBLISHED);
        if folder.is_some() || published.is_some() {
            let stem = || {
                let name = published?.name();
                Some(
                    name.split_once(".safetensors")
                        .or(name.rsplit_once('.'))?
                        .0
                        .to_owned(),
                )
            };
            return self.import(Files {
                name: folder.or_else(stem).unwrap_or_default(),
                files: files.into_iter().map(Handle).collect(),
            });
        }
        let Some(file) = files.into_iter().next() else {
            return;
        };
        if ends(&file, &[".json"]) {
            self.take_json(file);
        } else if ends(&file, &TEXTS) {
            tuner::read_text(self, file);
        } else {
            self.panel_open.set(false);
            self.load(Source::File(file));
        }
    }

    /// Conversations, or a bit-map.
    fn take_json(self, file: File) {
        spawn_local(async move {
            match text(&file).await {
                Ok(text) if is_export(&text) => {
                    self.show(Tab::Chat);
                    self.import_chats(&file.name(), &text);
                }
                // What can't be read is told there.
                _ => {
                    self.show(Tab::Map);
                    explorer::import(self, file);
                }
            }
        });
    }
}

fn ends(file: &File, all: &[&str]) -> bool {
    let name = file.name().to_lowercase();
    all.iter().any(|end| name.ends_with(end))
}
