//! What the page asks about the kept models.

use super::fetch::gone;
use super::post;
use super::store::Store;
use crate::protocol::{Handle, Report, Shelf, ShelfRequest};

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
        ShelfRequest::Save { id, name } => {
            let file = Store::open().await?.file(&id).await;
            let file = Handle(file.map_err(|_| gone(&name))?);
            post(&Report::Save { name, file });
            Ok(())
        }
    }
}

/// Tells the page what is kept, or why nothing is.
pub async fn tell() {
    let shelf = match Store::open().await {
        Ok(store) => store.shelf().await.unwrap_or_default(),
        Err(problem) => Shelf {
            missing: Some(problem),
            ..Shelf::default()
        },
    };
    post(&Report::Shelf(shelf));
}
