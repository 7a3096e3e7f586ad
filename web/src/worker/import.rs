//! Published models into this browser's store: read slice by slice, written tensor by tensor.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ternary::backend::LocalFuture;
use ternary::config::QuantMode;
use ternary::format::{ByteSink, ByteSource};
use ternary::import::{self as engine, Input, Observer, Options, Part, Planned, Progress, Written};
use ternary::platform::Instant;
use ternary::session::FilePart;
use web_sys::Blob;

use super::cancel::Cancel;
use super::journal::Journal;
use super::remote::RemoteSource;
use super::source::BlobSource;
use super::store::{self, Card, Store, Writer};
use super::{Job, Responder, kept};
use crate::protocol::{Choices, Files, Handle, KeptModel, Response, Unfinished, kept_id};

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
    let (input, _) = input(files, cancel, None).await;
    match engine::survey(&input, &Options::default()).await {
        Ok(survey) => responder.send(Response::Surveyed(Box::new(survey))),
        Err(_) if cancel.is_raised() => responder.send(Response::Cancelled),
        Err(problem) => responder.error(format!("{}: {problem}", files.name)),
    }
}

pub async fn import(files: &Files, choices: Choices, finishes: Option<String>, job: &Job) {
    let Job { responder, cancel } = job;
    match try_import(files, choices, finishes, job).await {
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
    finishes: Option<String>,
    job: &Job,
) -> Result<(String, String), String> {
    let store = Store::open().await?;
    let id = id(files, choices);
    if let Some(old) = finishes.filter(|old| *old != id) {
        store.delete(&old, &files.name).await?;
        job.responder.send(Response::BeganAgain);
    }
    let kept = store.kept(&id).await;
    if let Some(kept) = kept.filter(KeptModel::complete) {
        return Ok((id, kept.name));
    }
    let name = store.free_name(&file_name(files), &id).await?;
    let mut writer = store.writer(&id, &name).await?;
    let mut card = Card {
        name: name.clone(),
        url: None,
        bytes: 0,
        repository: files.repository.as_ref().map(|asked| asked.repo.clone()),
        adapter_of: None,
        unfinished: unfinished(files, choices),
    };
    // Of files that are opened nothing stays, and their card comes last: without one, no other tab
    // and no later visit takes it for a model.
    let journal = match card.unfinished {
        Some(_) => {
            let journal = Journal::open(&store, &id, &name).await?;
            store.put_card(&id, &card).await?;
            Some(Rc::new(RefCell::new(journal)))
        }
        None => None,
    };
    let done = journal
        .as_ref()
        .map_or(0, |journal| journal.borrow().done());
    if done == 0 {
        writer.clear()?;
    }
    let outcome = match write(files, choices, job, writer, journal).await {
        Ok(writer) => {
            card.bytes = writer.len();
            card.unfinished = None;
            let problem = store.put_card(&id, &card).await.err();
            problem.map_or(Ok(()), |problem| Err(Failure::for_good(problem)))
        }
        Err(failure) => Err(failure),
    };
    match outcome {
        Ok(()) => {
            store.end_journal(&id).await;
            Ok((id, name))
        }
        Err(failure) => {
            if !failure.can_go_on {
                store.delete(&id, &name).await?;
            }
            Err(failure.problem)
        }
    }
}

/// What a later visit needs to go on: files of another site can be had again.
fn unfinished(files: &Files, choices: Choices) -> Option<Unfinished> {
    let repository = files.repository.clone();
    let repository = repository.filter(|_| files.files.is_empty() && !files.remote.is_empty())?;
    Some(Unfinished {
        repository,
        title: files.title.clone(),
        choices,
    })
}

/// Why an import ended.
struct Failure {
    problem: String,
    /// What is written stays for another attempt.
    can_go_on: bool,
}

impl Failure {
    fn for_good(problem: String) -> Self {
        Self {
            problem,
            can_go_on: false,
        }
    }
}

async fn write(
    files: &Files,
    choices: Choices,
    job: &Job,
    writer: Writer,
    journal: Option<Rc<RefCell<Journal>>>,
) -> Result<Writer, Failure> {
    let (input, remote) = input(files, &job.cancel, journal.as_ref()).await;
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
    let name = file_name(files);
    let draft = RefCell::new(Draft::new(writer, journal, remote.clone(), job.responder));
    let mut sink = Sink {
        name,
        draft: &draft,
    };
    let imported = engine::import(&input, &options, &mut sink, &mut Follow(&draft)).await;
    let mut draft = draft.into_inner();
    if let Err(problem) = imported {
        return Err(draft.fail(problem.to_string(), job));
    }
    for source in &remote {
        if let Err(problem) = source.verify().await {
            return Err(draft.fail(problem, job));
        }
    }
    Ok(draft.writer)
}

/// The files, and those of them that come from another site.
async fn input(
    files: &Files,
    cancel: &Cancel,
    journal: Option<&Rc<RefCell<Journal>>>,
) -> (Input, Vec<RemoteSource>) {
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
    for (place, file) in files.remote.iter().enumerate() {
        // One of its kind may be called anything.
        let only = files.remote.len() == 1 && file.name.to_lowercase().ends_with(GGUF.0);
        let name = if only { GGUF.1 } else { &file.name };
        let journal = journal.map(|journal| (Rc::clone(journal), place));
        let source = RemoteSource::new(file.clone(), cancel.clone(), journal);
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
        // Another commit may have the same file.
        properties.push(file.sha256.as_ref().unwrap_or(&file.url).clone());
        properties.push(file.bytes.to_string());
    }
    kept_id(&properties.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The `.1bit` under way.
struct Draft {
    writer: Writer,
    journal: Option<Rc<RefCell<Journal>>>,
    remote: Vec<RemoteSource>,
    responder: Responder,
    /// What is being written, the bytes that are there before it, and those of it.
    tensor: String,
    before: u64,
    of_tensor: u64,
    total: u64,
    /// Bytes for which the browser was not asked yet whether it has room.
    unasked: Option<u64>,
    /// When the page was told last.
    told: Option<Instant>,
    /// The browser took no more.
    is_full: bool,
}

impl Draft {
    fn new(
        writer: Writer,
        journal: Option<Rc<RefCell<Journal>>>,
        remote: Vec<RemoteSource>,
        responder: Responder,
    ) -> Self {
        Self {
            writer,
            journal,
            remote,
            responder,
            tensor: String::new(),
            before: 0,
            of_tensor: 0,
            total: 0,
            unasked: None,
            told: None,
            is_full: false,
        }
    }

    fn done(&self) -> u64 {
        self.before + self.of_tensor
    }

    fn tell(&mut self) {
        if self.told.is_some_and(|told| told.elapsed() < REPORT_EVERY) {
            return;
        }
        self.told = Some(Instant::now());
        self.responder.send(Response::Importing {
            done: self.done(),
            total: self.total,
            tensor: self.tensor.clone(),
        });
    }

    fn put(&mut self, offset: u64, bytes: &[u8]) -> Result<(), String> {
        let put = self.writer.put(offset, bytes);
        put.inspect_err(|_| self.is_full = true)?;
        self.of_tensor += bytes.len() as u64;
        // A tensor may take long.
        self.tell();
        Ok(())
    }

    /// Notes in the journal what is written.
    fn note(&self, journal: &mut Journal, done: u64) -> Result<(), String> {
        self.writer.flush();
        let read = self.remote.iter().map(RemoteSource::state).collect();
        journal.tell_written(done, read)
    }

    fn fail(&mut self, problem: String, job: &Job) -> Failure {
        let passes = job.cancel.is_raised()
            || self.is_full
            || self.remote.iter().any(RemoteSource::broke_off);
        let Some(journal) = self.journal.take().filter(|_| passes) else {
            return Failure::for_good(problem);
        };
        let journal = &mut *journal.borrow_mut();
        // Where it can't be noted, it is written once more.
        self.note(journal, self.before).ok();
        Failure {
            problem,
            can_go_on: journal.done() > 0,
        }
    }
}

/// Where the importer writes.
struct Sink<'a> {
    name: String,
    draft: &'a RefCell<Draft>,
}

impl Sink<'_> {
    async fn put(&self, offset: u64, bytes: &[u8]) -> Result<(), String> {
        let unasked = self.draft.borrow_mut().unasked.take();
        if let Some(unasked) = unasked {
            let room = store::room_for(unasked).await;
            room.inspect_err(|_| self.draft.borrow_mut().is_full = true)?;
        }
        self.draft.borrow_mut().put(offset, bytes)
    }
}

impl ByteSink for Sink<'_> {
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

/// Follows the importer.
struct Follow<'a>(&'a RefCell<Draft>);

impl Observer for Follow<'_> {
    fn planned(&mut self, planned: Planned) -> Result<Vec<Written>, String> {
        let draft = &mut *self.0.borrow_mut();
        let there = match &draft.journal {
            Some(journal) => journal.borrow_mut().begin(planned.plan, planned.total)?,
            None => Vec::new(),
        };
        draft.total = planned.total;
        draft.unasked = Some(planned.total.saturating_sub(draft.writer.len()));
        draft
            .responder
            .send(Response::Parts(parts(planned, &there)));
        Ok(there)
    }

    fn begins(&mut self, progress: Progress) {
        let draft = &mut *self.0.borrow_mut();
        (draft.before, draft.of_tensor) = (progress.done, 0);
        draft.tensor = progress.tensor;
        draft.tell();
    }

    fn written(&mut self, written: Written) -> Result<(), String> {
        let draft = &mut *self.0.borrow_mut();
        (draft.before, draft.of_tensor) = (draft.done(), 0);
        let Some(journal) = &draft.journal else {
            return Ok(());
        };
        let journal = &mut *journal.borrow_mut();
        match journal.written(written, draft.before) {
            true => draft.note(journal, draft.before),
            false => Ok(()),
        }
    }
}

/// What is written, in the order of the model, and behind how much of the rest; `there` is already.
fn parts(planned: Planned, there: &[Written]) -> Vec<FilePart> {
    let is_there = |part: &Part| there.iter().any(|written| written.index == part.index);
    let (mut first, rest): (Vec<Part>, Vec<Part>) = planned.parts.into_iter().partition(is_there);
    first.extend(rest);
    let mut before = 0;
    let parts = first.into_iter().map(|part| {
        let offset = before;
        before += part.bytes;
        let file_part = FilePart {
            name: part.name,
            mode: part.mode,
            offset,
            bytes: part.bytes,
        };
        (part.index, file_part)
    });
    let mut parts: Vec<_> = parts.collect();
    parts.sort_by_key(|(index, _)| *index);
    parts.into_iter().map(|(_, part)| part).collect()
}
