//! Published models into this browser's store: read slice by slice, written tensor by tensor.

use std::cell::RefCell;
use std::time::Duration;

use ternary::backend::LocalFuture;
use ternary::config::QuantMode;
use ternary::format::{ByteSink, ByteSource};
use ternary::import::{self as engine, Input, Options, Progress};
use ternary::platform::Instant;
use web_sys::Blob;

use super::cancel::Cancel;
use super::remote::RemoteSource;
use super::source::BlobSource;
use super::store::{self, Card, Store, Writer};
use super::{Job, Responder, kept};
use crate::protocol::{Choices, Files, Handle, KeptModel, Response, kept_id};

/// What the importer looks for where there is one file of its kind, whatever that is called.
const GGUF: (&str, &str) = (".gguf", "model.gguf");
/// How one begins.
const MAGIC: &[u8] = b"GGUF";
/// Of files that are no GGUF.
const OTHERS: [&str; 5] = [".safetensors", ".json", ".jinja", ".txt", ".md"];
/// Between two reports of progress.
const REPORT_EVERY: Duration = Duration::from_millis(100);

/// Tells what the files are, before anything is written.
pub async fn survey(files: &Files, job: &Job) {
    let Job { responder, cancel } = job;
    if let Err(problem) = Store::open().await {
        return responder.error(format!(
            "{}: an import is kept in this browser, and {problem}. Open this page in an ordinary window; or import with \
             `onebit import` and drop the .1bit here: that needs no storage",
            files.name
        ));
    }
    let (input, _) = input(files, cancel).await;
    match engine::survey(&input, &Options::default()).await {
        Ok(survey) => responder.send(Response::Surveyed(Box::new(survey))),
        Err(_) if cancel.is_raised() => responder.send(Response::Cancelled),
        Err(problem) => responder.error(format!("{}: {problem}", files.name)),
    }
}

pub async fn import(files: &Files, choices: Choices, job: &Job) {
    let Job { responder, cancel } = job;
    match try_import(files, choices, job).await {
        Ok((id, name)) => responder.send(Response::Kept { id, name }),
        Err(_) if cancel.is_raised() => responder.send(Response::Cancelled),
        Err(problem) => responder.error(format!("{}: {problem}", files.name)),
    }
    kept::changed().await;
}

/// The kept model's id and name in the store.
async fn try_import(
    files: &Files,
    choices: Choices,
    job: &Job,
) -> Result<(String, String), String> {
    let store = Store::open().await?;
    let id = id(files, choices);
    if let Some(kept) = store.kept(&id).await.filter(KeptModel::complete) {
        return Ok((id, kept.name));
    }
    let name = store.free_name(&file_name(files), &id).await?;
    let mut writer = store.writer(&id, &name).await?;
    writer.clear()?;
    let written = write(files, choices, job, writer).await;
    let finished = match written {
        // The card comes last and while the file is held: without one, no other tab and no later
        // visit takes it for a model.
        Ok(writer) => {
            let card = Card {
                name: name.clone(),
                url: None,
                bytes: writer.len(),
                repository: files.repository.clone(),
                adapter_of: None,
            };
            store.put_card(&id, &card).await
        }
        Err(problem) => Err(problem),
    };
    if finished.is_err() {
        store.delete(&id, &name).await?;
    }
    finished.map(|()| (id, name))
}

async fn write(
    files: &Files,
    choices: Choices,
    job: &Job,
    writer: Writer,
) -> Result<Writer, String> {
    let (input, remote) = input(files, &job.cancel).await;
    let found = Options::default();
    let Choices {
        head,
        body,
        context,
    } = choices;
    let options = Options {
        head: head.unwrap_or(found.head),
        keep_head: head.is_none(),
        // Who wants the ends to the last digit wants the rest so, too.
        body: match head {
            Some(QuantMode::F32) => Some(QuantMode::F32),
            _ => body.or(found.body),
        },
        context,
        name: files.title.clone(),
        ..found
    };
    let stage = RefCell::new(Stage::new(job.responder));
    let mut draft = Draft {
        name: file_name(files),
        writer,
        stage: &stage,
    };
    let mut progress = |progress| stage.borrow_mut().enter(progress);
    let imported = engine::import(&input, &options, &mut draft, &mut progress).await;
    imported.map_err(|problem| problem.to_string())?;
    for source in remote {
        source.verify().await?;
    }
    Ok(draft.writer)
}

/// The files, and those of them that come from another site.
async fn input(files: &Files, cancel: &Cancel) -> (Input, Vec<RemoteSource>) {
    let mut sources = Vec::new();
    for Handle(file) in &files.files {
        let blob: &Blob = file;
        let source = BlobSource::new(file.name(), blob.clone(), cancel.clone());
        let is_gguf = is_gguf(&source, files.files.len() == 1).await;
        sources.push((source, is_gguf));
    }
    let ggufs = sources.iter().filter(|(_, is_gguf)| *is_gguf).count();
    let mut input = Input::default();
    let mut remote = Vec::new();
    for file in &files.remote {
        // One of its kind may be called anything.
        let only = files.remote.len() == 1 && file.name.to_lowercase().ends_with(GGUF.0);
        let name = if only { GGUF.1 } else { &file.name };
        let source = RemoteSource::new(file.clone(), cancel.clone());
        input.add(name, Box::new(source.clone()));
        remote.push(source);
    }
    for (source, is_gguf) in sources {
        let own = source.name();
        let name = match ggufs {
            1 if is_gguf => GGUF.1.to_owned(),
            _ if is_gguf && !own.to_lowercase().ends_with(GGUF.0) => own + GGUF.0,
            _ => own,
        };
        input.add(&name, Box::new(source));
    }
    (input, remote)
}

/// By its name or, where it stands alone or has none of the endings known here, by its first bytes.
async fn is_gguf(source: &BlobSource, alone: bool) -> bool {
    let name = source.name().to_lowercase();
    let known = !alone && OTHERS.iter().any(|end| name.ends_with(end));
    if name.ends_with(GGUF.0) || known {
        return name.ends_with(GGUF.0);
    }
    source
        .read(0, MAGIC.len())
        .await
        .is_ok_and(|start| start == MAGIC)
}

fn file_name(files: &Files) -> String {
    format!("{}.1bit", files.name)
}

/// The same files are the same model, as long as the importer is the same.
fn id(files: &Files, choices: Choices) -> String {
    let mut properties = vec![
        env!("CARGO_PKG_VERSION").to_owned(),
        choices.head.map_or("keep", QuantMode::name).to_owned(),
        choices.body.map_or("own", QuantMode::name).to_owned(),
        choices.context.unwrap_or(0).to_string(),
        files.name.clone(),
    ];
    for Handle(file) in &files.files {
        properties.push(file.name());
        properties.push(file.size().to_string());
        properties.push(file.last_modified().to_string());
    }
    for file in &files.remote {
        properties.push(file.url.clone());
        properties.push(file.bytes.to_string());
    }
    kept_id(&properties.iter().map(String::as_str).collect::<Vec<_>>())
}

/// How far the import is, as the page was told last.
struct Stage {
    responder: Responder,
    tensor: String,
    total: u64,
    told: Option<Instant>,
}

impl Stage {
    fn new(responder: Responder) -> Self {
        Self {
            responder,
            tensor: String::new(),
            total: 0,
            told: None,
        }
    }

    fn enter(&mut self, progress: Progress) {
        (self.tensor, self.total) = (progress.tensor, progress.total);
        self.tell(progress.done);
    }

    fn tell(&mut self, done: u64) {
        if self.told.is_some_and(|told| told.elapsed() < REPORT_EVERY) {
            return;
        }
        self.told = Some(Instant::now());
        self.responder.send(Response::Importing {
            done,
            total: self.total,
            tensor: self.tensor.clone(),
        });
    }
}

/// The `.1bit` under way.
struct Draft<'a> {
    name: String,
    writer: Writer,
    stage: &'a RefCell<Stage>,
}

impl Draft<'_> {
    async fn put(&mut self, offset: u64, bytes: &[u8]) -> Result<(), String> {
        if self.writer.len() == 0 {
            let total = self.stage.borrow().total;
            store::room_for(total).await?;
        }
        self.writer.put(offset, bytes)?;
        // A tensor may take long.
        self.stage.borrow_mut().tell(self.writer.len());
        Ok(())
    }
}

impl ByteSink for Draft<'_> {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn write<'a>(
        &'a mut self,
        offset: u64,
        bytes: &'a [u8],
    ) -> LocalFuture<'a, Result<(), String>> {
        Box::pin(self.put(offset, bytes))
    }
}
