//! Getting a model, from wherever it is, into the session.

use std::rc::Rc;

use ternary::format::{FormatError, OneBit};
use ternary::session::{Command, DeviceChoice, Event, Session};

use super::cancel::Cancel;
use super::fetch::{self, Fetched};
use super::source::BlobSource;
use super::store::Store;
use super::{Job, Responder, kept, tuning};
use crate::protocol::{KeptModel, Response, Source};

/// Whether the model is there now; why not was told.
pub async fn load(session: &mut Session, source: Source, device: DeviceChoice, job: &Job) -> bool {
    let loaded = try_load(session, source, device, job).await;
    // Something may have come, or gone, or stayed in part.
    kept::changed().await;
    loaded
}

async fn try_load(session: &mut Session, source: Source, device: DeviceChoice, job: &Job) -> bool {
    let Job { responder, cancel } = job;
    let name = source.name();
    if let Source::Tuning = source {
        let file = match tuning::base(cancel).await {
            Ok(file) => file,
            Err(problem) => {
                responder.error(problem);
                return false;
            }
        };
        let mut loaded = false;
        let mut tell = unless_given_up(job);
        let mut emit = |event| {
            loaded |= matches!(event, Event::Loaded { .. });
            tell(event);
        };
        session.load(Rc::new(file), device, &mut emit).await;
        return loaded;
    }
    let opened = match open(source, job).await {
        Ok(Some(opened)) => opened,
        refused => {
            match refused {
                Err(_) if cancel.is_raised() => responder.send(Response::Cancelled),
                Err(problem) => problem.tell(*responder),
                Ok(_) => responder.send(Response::NothingShipped),
            }
            return false;
        }
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
                event => responder.event(event),
            },
        )
        .await;
    let Some(message) = failure else { return true };
    if cancel.is_raised() {
        responder.send(Response::Cancelled);
    } else if let Some(kept) = opened.kept
        && let Err(damage) = verify(&file).await
    {
        refuse(kept, opened.fresh, message, &damage, *responder).await;
    } else {
        responder.error(message);
    }
    false
}

/// Moves the loaded model to another device.
pub async fn move_to(session: &mut Session, device: DeviceChoice, job: &Job) {
    let command = Command::Move { device };
    session.handle(command, &mut unless_given_up(job)).await;
}

/// Sends events on; the failure of what was given up is none.
fn unless_given_up(job: &Job) -> impl FnMut(Event) {
    |event| match event {
        Event::Error { .. } if job.cancel.is_raised() => job.responder.send(Response::Cancelled),
        event => job.responder.event(event),
    }
}

/// Compares a file with the loaded model.
pub async fn compare(session: &mut Session, source: Source, responder: Responder) {
    let name = source.name();
    let never = Job {
        responder,
        cancel: Cancel::default(),
    };
    match open(source, &never).await {
        Ok(Some(opened)) => {
            let file = BlobSource::new(name, opened.blob, never.cancel);
            let mut emit = |event| responder.event(event);
            session.compare(Rc::new(file), &mut emit).await;
        }
        Ok(None) => responder.error("no model comes with this page to compare with".to_owned()),
        Err(Problem::Unreachable(problem) | Problem::Final(problem)) => responder.error(problem),
    }
}

/// The file of the model that comes with the page.
pub async fn shipped(job: &Job) -> Result<Option<BlobSource>, String> {
    match open(Source::Shipped, job).await {
        Ok(opened) => Ok(opened.map(|opened| {
            let name = Source::Shipped.name();
            BlobSource::new(name, opened.blob, job.cancel.clone())
        })),
        Err(Problem::Unreachable(problem) | Problem::Final(problem)) => Err(problem),
    }
}

/// Why a model's file is not there.
enum Problem {
    /// Another attempt may succeed.
    Unreachable(String),
    Final(String),
}

impl Problem {
    fn tell(self, responder: Responder) {
        match self {
            Problem::Unreachable(message) => responder.send(Response::Unreachable(message)),
            Problem::Final(message) => responder.error(message),
        }
    }
}

/// `None`: no model comes with this page.
async fn open(source: Source, job: &Job) -> Result<Option<Fetched>, Problem> {
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
                Some(KeptModel { url: Some(url), .. }) => url,
                _ => return Err(Problem::Final(fetch::gone(&name))),
            }
        }
        Source::Url(url) => url,
        Source::Tuning | Source::Server { .. } => {
            let problem = format!("{} is no file that could be read", source.name());
            return Err(Problem::Final(problem));
        }
        Source::Shipped => match fetch::shipped().await.map_err(Problem::Unreachable)? {
            Some(url) => url,
            None => return Ok(None),
        },
    };
    let fetched = fetch::model(&url, job).await;
    fetched.map(Some).map_err(Problem::Unreachable)
}

/// Whether the bytes are those that were written into the file, by its own checksums. What can't be
/// read is not there, which is another matter.
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
async fn refuse(kept: KeptModel, fresh: bool, message: String, damage: &str, responder: Responder) {
    let Some(url) = kept.url else {
        return responder.send(Response::Damaged {
            message: format!("{message}. Delete the kept copy, and keep the file again."),
            url: None,
        });
    };
    if let Ok(store) = Store::open().await {
        store.delete(&kept.id, &kept.name).await.ok();
    }
    if fresh {
        // It is so where it came from.
        return responder.error(message);
    }
    responder.send(Response::Damaged {
        message: format!("{}: {damage}", kept.name),
        url: Some(url),
    });
}
