//! What the page asks about the kept models.

use super::Responder;
use super::fetch::gone;
use super::notify;
use super::store::Store;
use crate::protocol::{Handle, KeptModels, Notification, Response, StoreRequest};

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
        StoreRequest::Keep(file) => keep(&file).await,
        StoreRequest::Delete { id, name } => delete(&id, &name).await,
    };
    // After a failure too: it may have stopped halfway, or another tab was there before.
    changed().await;
    done
}

async fn keep(file: &web_sys::File) -> Result<(), String> {
    Store::open().await?.keep(file).await
}

async fn delete(id: &str, name: &str) -> Result<(), String> {
    Store::open().await?.delete(id, name).await
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

/// Tells the page what is kept now, or why nothing is.
pub async fn changed() {
    notify(&Notification::KeptModels(list().await));
}
