//! What the page asks about the kept models.

use super::post;
use super::store::Store;
use crate::protocol::{Report, ShelfRequest};

pub async fn handle(request: ShelfRequest) {
    if let Err(problem) = serve(request).await {
        post(&Report::ShelfFailed(problem));
    }
    tell().await;
}

async fn serve(request: ShelfRequest) -> Result<(), String> {
    match request {
        ShelfRequest::List => Ok(()),
        ShelfRequest::Keep(file) => Store::open().await?.keep(&file).await,
        ShelfRequest::Delete { id, name } => Store::open().await?.delete(&id, &name).await,
    }
}

/// Tells the page what is kept. A browser that keeps nothing has an empty shelf.
pub async fn tell() {
    let shelf = match Store::open().await {
        Ok(store) => store.shelf().await.unwrap_or_default(),
        Err(_) => Default::default(),
    };
    post(&Report::Shelf(shelf));
}
