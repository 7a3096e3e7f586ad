//! What the page asks about the kept models.

use ternary::session::Session;
use wasm_bindgen::JsValue;
use web_sys::BroadcastChannel;

use super::Responder;
use super::fetch::gone;
use super::notify;
use super::store::Store;
use crate::protocol::{Handle, KEPT_CHANNEL, KeptModels, Notification, Response, StoreRequest};

pub async fn handle(request: StoreRequest, responder: Responder) {
    if let Err(problem) = serve(request, responder).await {
        responder.error(problem);
    }
}

async fn serve(request: StoreRequest, responder: Responder) -> Result<(), String> {
    let done = match request {
        StoreRequest::List => {
            responder.send(Response::KeptModels(list().await));
            return Ok(());
        }
        StoreRequest::Save { id, name } => {
            let file = Store::open().await?.file(&id).await;
            let file = file.map(Handle).map_err(|_| gone(&name));
            file.map(|file| responder.send(Response::Save { name, file }))
        }
        StoreRequest::Keep(file) => {
            let kept = keep(&file).await;
            kept.map(|(id, name)| responder.send(Response::Kept { id, name }))
        }
        StoreRequest::Delete { id, name } => delete(&id, &name).await,
        StoreRequest::Rename { id, name } => rename(&id, &name).await,
    };
    // After a failure too: it may have stopped halfway, or another tab was there before.
    changed().await;
    done
}

async fn keep(file: &web_sys::File) -> Result<(String, String), String> {
    Store::open().await?.keep(file).await
}

async fn delete(id: &str, name: &str) -> Result<(), String> {
    Store::open().await?.delete(id, name).await
}

async fn rename(id: &str, name: &str) -> Result<(), String> {
    Store::open().await?.rename(id, name).await
}

async fn list() -> KeptModels {
    match Store::open().await {
        Ok(store) => store.contents().await.unwrap_or_default(),
        Err(problem) => KeptModels {
            missing: Some(problem),
            ..KeptModels::default()
        },
    }
}

/// Keeps the loaded model as it is.
pub async fn keep_loaded(session: &Session, name: &str, responder: Responder) {
    let kept = async {
        let source = session.source().ok_or("no model is loaded")?;
        Store::open().await?.copy(source.as_ref(), name, None).await
    };
    tell(kept.await, responder).await;
}

/// Tells of what was kept: its id and name.
pub async fn tell(kept: Result<(String, String), String>, responder: Responder) {
    match kept {
        Ok((id, name)) => responder.send(Response::Kept { id, name }),
        Err(problem) => responder.error(problem),
    }
    changed().await;
}

/// Tells the page what is kept now, or why nothing is, and other tabs that it changed.
pub async fn changed() {
    notify(&Notification::KeptModels(list().await));
    // A browser without channels shows it when the tab is looked at again.
    if let Ok(channel) = BroadcastChannel::new(KEPT_CHANNEL) {
        channel.post_message(&JsValue::NULL).ok();
        channel.close();
    }
}
