//! What the reader dropped or chose: files, folders, both.

use js_sys::{Array, Function, Promise};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    DataTransfer, File, FileList, FileSystemDirectoryEntry, FileSystemEntry, FileSystemFileEntry,
};

use crate::js::{describe, field};

/// Files looked at in a folder and the folders inside it.
const MOST_FILES: usize = 10_000;

/// A file, and where it is inside the folder that was picked.
pub struct Found {
    pub path: String,
    pub file: File,
}

impl Found {
    pub fn name(&self) -> &str {
        self.path
            .rsplit_once('/')
            .map_or(&self.path, |(_, name)| name)
    }

    /// The folder it is in; nothing for the one that was picked.
    pub fn folder(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    pub fn ends(&self, all: &[&str]) -> bool {
        let name = self.name().to_lowercase();
        all.iter().any(|end| name.ends_with(end))
    }

    pub fn is(&self, all: &[&str]) -> bool {
        all.contains(&self.name())
    }
}

pub struct Picked {
    /// The folder they are in, if one was picked and nothing else.
    pub folder: Option<String>,
    pub files: Vec<Found>,
}

impl Picked {
    /// Of a file picker.
    pub fn chosen(list: &FileList) -> Self {
        let mut folder = None;
        let all = (0..list.length()).filter_map(|i| list.get(i));
        let files = all.filter_map(|file| {
            let path = field(&file, "webkitRelativePath").as_string();
            match path.unwrap_or_default().split_once('/') {
                Some((name, path)) => {
                    folder = Some(name.to_owned());
                    let path = path.to_owned();
                    (!is_hidden(&path)).then_some(Found { path, file })
                }
                None => Some(of_its_own(file)),
            }
        });
        let files = files.collect();
        Self { folder, files }.in_order()
    }

    /// What `data` carries, which is gone when its event is over.
    pub fn dropped(data: &DataTransfer) -> impl Future<Output = Result<Self, String>> + use<> {
        let items = data.items();
        let items = (0..items.length()).filter_map(|i| items.get(i));
        let entries = items.filter_map(|item| item.webkit_get_as_entry().ok().flatten());
        let folders: Vec<FileSystemDirectoryEntry> = entries
            .filter(FileSystemEntry::is_directory)
            .map(JsCast::unchecked_into)
            .collect();
        // Folders are among them as files that can't be read.
        let names: Vec<String> = folders.iter().map(|folder| folder.name()).collect();
        let list = data.files();
        let list = list.iter();
        let files = list.flat_map(|list| (0..list.length()).filter_map(|i| list.get(i)));
        let files = files.filter(|file| !names.contains(&file.name()));
        let mut files: Vec<Found> = files.map(of_its_own).collect();
        async move {
            let alone = folders.len() == 1 && files.is_empty();
            for folder in &folders {
                let before = match alone {
                    true => String::new(),
                    false => format!("{}/", folder.name()),
                };
                walk(folder, before, &mut files).await.map_err(describe)?;
            }
            let folder = folders.first().filter(|_| alone);
            Ok(Self {
                folder: folder.map(|folder| folder.name()),
                files,
            }
            .in_order())
        }
    }

    /// As the command line takes the files of a folder.
    fn in_order(mut self) -> Self {
        self.files
            .sort_by(|a, b| a.path.split('/').cmp(b.path.split('/')));
        self
    }

    pub fn into_files(self) -> Vec<Found> {
        self.files
    }

    /// Does something with the first, where only one is asked for.
    pub fn first(self, take: impl Fn(File)) {
        if let Some(first) = self.files.into_iter().next() {
            take(first.file);
        }
    }

    /// The first that `is` says yes to of those in the outermost folder.
    pub fn outermost(&self, is: impl Fn(&Found) -> bool) -> Option<&Found> {
        let found = self.files.iter().filter(|found| is(found));
        found.min_by_key(|found| found.path.matches('/').count())
    }

    /// The files beside this one.
    pub fn beside(&self, other: &Found) -> impl Iterator<Item = &Found> {
        let folder = other.folder().to_owned();
        let files = self.files.iter();
        files.filter(move |found| found.folder() == folder)
    }
}

fn of_its_own(file: File) -> Found {
    let path = file.name();
    Found { path, file }
}

fn is_hidden(path: &str) -> bool {
    path.split('/').any(|part| part.starts_with('.'))
}

/// The files of a folder and of the folders in it, but for hidden ones.
async fn walk(
    folder: &FileSystemDirectoryEntry,
    before: String,
    files: &mut Vec<Found>,
) -> Result<(), JsValue> {
    let mut folders = vec![(folder.clone(), before)];
    while let Some((folder, before)) = folders.pop() {
        let reader = folder.create_reader();
        loop {
            // A part of them at a time; nothing when all have come.
            let some = promise(|done, failed| {
                reader.read_entries_with_callback_and_callback(done, failed)
            });
            let some: Array = JsFuture::from(some).await?.unchecked_into();
            if some.length() == 0 {
                break;
            }
            for entry in some.iter().map(JsCast::unchecked_into::<FileSystemEntry>) {
                let name = entry.name();
                if is_hidden(&name) {
                    continue;
                }
                let path = format!("{before}{name}");
                if entry.is_directory() {
                    folders.push((entry.unchecked_into(), format!("{path}/")));
                    continue;
                }
                if files.len() == MOST_FILES {
                    return Err(JsValue::from_str(&format!(
                        "it holds more than {MOST_FILES} files; drop a part of it"
                    )));
                }
                let entry: FileSystemFileEntry = entry.unchecked_into();
                let file = promise(|done, failed| {
                    entry.file_with_callback_and_callback(done, failed);
                    Ok(())
                });
                let file = JsFuture::from(file).await?.unchecked_into();
                files.push(Found { path, file });
            }
        }
    }
    Ok(())
}

fn promise(call: impl Fn(&Function, &Function) -> Result<(), JsValue>) -> Promise {
    Promise::new(&mut |done, failed| {
        if let Err(problem) = call(&done, &failed) {
            // Fails only if a promise can't be rejected.
            failed.call1(&JsValue::NULL, &problem).ok();
        }
    })
}
