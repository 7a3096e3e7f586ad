//! Getting a model, from wherever it is, into the session.

use std::rc::Rc;

use ternary::format::{FormatError, OneBit};
use ternary::session::{Command, DeviceChoice, Event, Session};

use super::cancel::Cancel;
use super::fetch::{self, Fetched};
use super::source::BlobSource;
use super::store::Store;
use super::{emit, error, post, shelf, tuning};
use crate::protocol::{Kept, Report, Source};

pub async fn load(session: &mut Session, source: Source, device: DeviceChoice, cancel: &Cancel) {
    try_load(session, source, device, cancel).await;
    // Something may have come, or gone, or stayed in part.
    shelf::tell().await;
}

async fn try_load(session: &mut Session, source: Source, device: DeviceChoice, cancel: &Cancel) {
    let name = source.name();
    if let Source::Tuning = source {
        return match tuning::base(cancel).await {
            Ok(file) => {
                let mut emit = unless_given_up(cancel);
                session.load(Rc::new(file), device, &mut emit).await;
            }
            Err(problem) => error(problem),
        };
    }
    let opened = match open(source, cancel).await {
        Ok(Some(opened)) => opened,
        Ok(None) => return post(&Report::NothingShipped),
        Err(_) if cancel.is_raised() => return post(&Report::Cancelled),
        Err(problem) => return problem.tell(),
    };
    let name = opened.kept.as_ref().map_or(name, |kept| kept.name.clone());
    let file = Rc::new(BlobSource::new(name, opened.blob, cancel.clone()));
    let mut failure = None;
    session
        .load(
            Rc::<BlobSource>::clone(&file),
            device,
            &mut |event| match event {
                Event::Error { message } => failure = Some(message),
                event => emit(event),
            },
        )
        .await;
    let Some(message) = failure else { return };
    if cancel.is_raised() {
        post(&Report::Cancelled);
    } else if let Some(kept) = opened.kept
        && let Err(damage) = verify(&file).await
    {
        refuse(kept, opened.fresh, message, &damage).await;
    } else {
        error(message);
    }
}

/// Moves the loaded model to another device.
pub async fn move_to(session: &mut Session, device: DeviceChoice, cancel: &Cancel) {
    let command = Command::Move { device };
    session.handle(command, &mut unless_given_up(cancel)).await;
}

/// Sends events on; the failure of what was given up is none.
fn unless_given_up(cancel: &Cancel) -> impl FnMut(Event) {
    |event| match event {
        Event::Error { .. } if cancel.is_raised() => post(&Report::Cancelled),
        event => emit(event),
    }
}

/// Compares a file with the loaded model.
pub async fn compare(session: &mut Session, source: Source) {
    let name = source.name();
    let never = Cancel::default();
    match open(source, &never).await {
        Ok(Some(opened)) => {
            let file = BlobSource::new(name, opened.blob, never);
            session.compare(Rc::new(file), &mut emit).await;
        }
        Ok(None) => error("no model comes with this page to compare with".to_owned()),
        Err(Problem::Unreachable(problem) | Problem::Final(problem)) => error(problem),
    }
}

/// Why a model's file is not there.
enum Problem {
    /// Another attempt may succeed.
    Unreachable(String),
    Final(String),
}

impl Problem {
    fn tell(self) {
        match self {
            Problem::Unreachable(message) => post(&Report::Unreachable(message)),
            Problem::Final(message) => error(message),
        }
    }
}

/// `None`: no model comes with this page.
async fn open(source: Source, cancel: &Cancel) -> Result<Option<Fetched>, Problem> {
    let url = match source {
        Source::File(file) => {
            return Ok(Some(Fetched {
                blob: file.into(),
                kept: None,
                fresh: false,
            }));
        }
        Source::Stored { id, name } => {
            let store = Store::open().await.map_err(Problem::Final)?;
            match store.kept(&id).await {
                Some(kept) if kept.complete() => {
                    let file = fetch::from_store(&store, kept, false).await;
                    return file.map(Some).map_err(Problem::Final);
                }
                // The rest of it is still where it came from.
                Some(Kept { url: Some(url), .. }) => url,
                _ => return Err(Problem::Final(fetch::gone(&name))),
            }
        }
        Source::Url(url) => url,
        Source::Tuning => {
            return Err(Problem::Final(
                "a fine-tuning is no file to compare with".to_owned(),
            ));
        }
        Source::Shipped => match fetch::shipped().await.map_err(Problem::Unreachable)? {
            Some(url) => url,
            None => return Ok(None),
        },
    };
    let fetched = fetch::model(&url, cancel).await;
    fetched.map(Some).map_err(Problem::Unreachable)
}

/// Whether the bytes are those that were written into the file, by its own checksums. What can't be read is not there, which is
/// another matter.
async fn verify(file: &BlobSource) -> Result<(), String> {
    let read = async {
        let model = OneBit::open(file).await?;
        for tensor in &model.tensors {
            model.read_tensor(file, tensor, &mut |_| Ok(())).await?;
        }
        Ok::<_, ternary::Error>(())
    };
    match read.await {
        Err(ternary::Error::Format(FormatError::Source { .. })) | Ok(()) => Ok(()),
        Err(damage) => Err(damage.to_string()),
    }
}

/// A kept file that is not what it should be: nobody is to meet it again.
async fn refuse(kept: Kept, fresh: bool, message: String, damage: &str) {
    let Some(url) = kept.url else {
        return error(format!(
            "{message}. Delete the kept copy, and keep the file again"
        ));
    };
    if let Ok(store) = Store::open().await {
        store.delete(&kept.id, &kept.name).await.ok();
    }
    if fresh {
        // It is so where it came from.
        return error(message);
    }
    post(&Report::Damaged {
        message: format!("{}: {damage}", kept.name),
        url,
    });
}
