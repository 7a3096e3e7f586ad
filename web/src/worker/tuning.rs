//! The fine-tuning under way, kept in this browser: the model it began with, and its last states.

use std::cell::{Cell, RefCell};

use js_sys::{Promise, Uint8Array};
use ternary::session::{Event, ModelTask, Session, tune_progress};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::{JsFuture, future_to_promise};

use super::cancel::Cancel;
use super::source::BlobSource;
use super::store::Store;
use super::{Responder, notify};
use crate::js::describe;
use crate::protocol::{Notification, RequestId};

const FOLDER: &str = "fine-tuning";
const BASE: &str = "base.1bit";
/// Written by turns: one is always whole.
const STATES: [&str; 2] = ["state-0", "state-1"];
/// What a browser must keep for a visit to survive a reload; nobody fine-tunes larger models in a
/// page.
const LARGEST_BASE: u64 = 1 << 30;
/// Bytes copied at a time.
const PIECE: u64 = 4 << 20;
/// What the engine's messages call it.
const NAME: &str = "the fine-tuning";

thread_local! {
    /// Which of the states is written next.
    static NEXT: Cell<usize> = const { Cell::new(0) };
    /// To be written when the one before is: a newer one takes its place.
    static WAITING: RefCell<Option<State>> = const { RefCell::new(None) };
    /// Kept when nothing is written any more.
    static WRITING: RefCell<Option<Promise>> = const { RefCell::new(None) };
}

/// A fine-tuning as it is after a step.
struct State {
    /// What asked for the fine-tuning.
    request: RequestId,
    step: usize,
    bytes: Vec<u8>,
}

/// Keeps the model a fine-tuning begins with. Where that fails the fine-tuning goes on, and a
/// reload ends it.
pub async fn begin(session: &Session) {
    forget().await;
    if let Err(problem) = keep_base(session).await {
        log::warn!("the fine-tuning won't survive a reload: {problem}");
    }
}

async fn keep_base(session: &Session) -> Result<(), String> {
    let source = session.source().ok_or("no model is loaded")?;
    if source.len() > LARGEST_BASE {
        return Err(format!("the model has {} bytes", source.len()));
    }
    let store = Store::folder(FOLDER).await?;
    let mut writer = store.writer(BASE, NAME).await?;
    writer.clear()?;
    while writer.len() < source.len() {
        let piece = PIECE.min(source.len() - writer.len());
        let bytes = source.read(writer.len(), piece as usize).await?;
        writer.push(&Uint8Array::from(&bytes[..]))?;
    }
    Ok(())
}

/// Sends events on to the page, but for states: those are kept here.
pub fn emit(responder: Responder) -> impl FnMut(Event) {
    move |event| match event {
        Event::TuneState { step, state } => keep(State {
            request: responder.0,
            step,
            bytes: state,
        }),
        event => responder.event(event),
    }
}

/// Has a state written while the model goes on learning.
fn keep(state: State) {
    WAITING.set(Some(state));
    if WRITING.with_borrow(Option::is_some) {
        return;
    }
    // It does not begin before this has returned.
    WRITING.set(Some(future_to_promise(async {
        while let Some(state) = WAITING.take() {
            save(state).await;
        }
        WRITING.set(None);
        Ok(JsValue::UNDEFINED)
    })));
}

/// Nothing is written any more when it returns.
async fn stop_writing() {
    WAITING.set(None);
    if let Some(writing) = WRITING.with_borrow(Option::clone) {
        JsFuture::from(writing).await.ok();
    }
}

async fn save(state: State) {
    let State {
        request,
        step,
        bytes,
    } = state;
    let name = STATES[NEXT.get() % STATES.len()];
    let written = async {
        let store = Store::folder(FOLDER).await?;
        // A state of another model would be refused; without its model it is of no use at all.
        store.file(BASE).await?;
        let mut writer = store.writer(name, NAME).await?;
        // Until it is whole it is too short, and so no state.
        writer.clear()?;
        writer.push(&Uint8Array::from(&bytes[..]))
    };
    match written.await {
        Ok(()) => {
            NEXT.set(NEXT.get() + 1);
            notify(&Notification::TuneSaved { request, step });
        }
        Err::<(), String>(problem) => log::warn!("step {step} could not be kept: {problem}"),
    }
}

/// The newest whole state, with its steps done and in all.
async fn newest() -> Result<(Vec<u8>, usize, usize), String> {
    let store = Store::folder(FOLDER).await?;
    store.file(BASE).await?;
    let mut newest: Option<(Vec<u8>, usize, usize)> = None;
    for name in STATES {
        let Ok(file) = store.file(name).await else {
            continue;
        };
        let buffer = JsFuture::from(file.array_buffer())
            .await
            .map_err(describe)?;
        let bytes = Uint8Array::new(&buffer).to_vec();
        if let Ok((step, steps)) = tune_progress(&bytes)
            && newest.as_ref().is_none_or(|(_, before, _)| step > *before)
        {
            newest = Some((bytes, step, steps));
        }
    }
    newest.ok_or_else(|| "no fine-tuning is kept in this browser".to_owned())
}

/// Tells the page of a fine-tuning that an earlier visit left.
pub async fn tell_unfinished() {
    if let Ok((_, step, steps)) = newest().await {
        notify(&Notification::UnfinishedTune { step, steps });
    }
}

/// The model that the kept fine-tuning began with.
pub async fn base(cancel: &Cancel) -> Result<BlobSource, String> {
    let store = Store::folder(FOLDER).await?;
    let file = store.file(BASE).await?;
    Ok(BlobSource::new(
        BASE.to_owned(),
        file.into(),
        cancel.clone(),
    ))
}

pub async fn restore(session: &mut Session, responder: Responder) {
    match newest().await {
        Ok((state, ..)) => {
            let task = ModelTask::RestoreTune { state };
            session.run_task(task, &mut emit(responder)).await;
        }
        Err(problem) => responder.error(problem),
    }
}

pub async fn forget() {
    // A file that is being written can't be deleted.
    stop_writing().await;
    let Ok(store) = Store::folder(FOLDER).await else {
        return;
    };
    for name in STATES.into_iter().chain([BASE]) {
        // What is being written in another tab stays that tab's.
        store.delete(name, NAME).await.ok();
    }
}
