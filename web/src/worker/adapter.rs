//! Adapters beside the loaded model.

use std::rc::Rc;

use js_sys::Uint8Array;
use ternary::adapter::{Adapter, CONFIG_FILE};
use ternary::format::{ByteSource, MemorySource};
use ternary::infer::LowRankAdapter;
use ternary::session::{self, Beside, Command, DeviceChoice, Event, Session};
use wasm_bindgen_futures::JsFuture;

use super::Responder;
use super::store::Store;
use crate::js::describe;
use crate::protocol::{AdapterSource, Handle};

/// Has the present model answer with these adapters beside it, on this device. Its weights stay
/// where they are, unless it runs elsewhere or its GPU is gone. Where that fails it answers as
/// before.
pub async fn adapt(
    session: &mut Session,
    adapters: &[AdapterSource],
    device: DeviceChoice,
    responder: Responder,
) {
    let Some(source) = session.source() else {
        return responder.error("no model is loaded for the adapter".to_owned());
    };
    let moves =
        session.device() != device || session.loaded().is_ok_and(|loaded| loaded.model.is_lost());
    let done = match moves {
        true => again(session, source, adapters, device, responder).await,
        false => in_place(session, adapters, responder).await,
    };
    if let Err(problem) = done {
        responder.error(problem);
    }
}

/// Loads the model again.
async fn again(
    session: &mut Session,
    source: Rc<dyn ByteSource>,
    adapters: &[AdapterSource],
    device: DeviceChoice,
    responder: Responder,
) -> Result<(), String> {
    let beside = together(session, adapters).await?.map(|adapter| Beside {
        name: key(adapters),
        adapter,
    });
    let mut failure = Ok(());
    session
        .load_adapted(source, beside, device, &mut |event| match event {
            Event::Error { message } => failure = Err(message),
            event => responder.event(event),
        })
        .await;
    failure
}

/// Those that were beside the model before are still there.
async fn in_place(
    session: &mut Session,
    adapters: &[AdapterSource],
    responder: Responder,
) -> Result<(), String> {
    let told = |problem: session::Error| problem.to_string();
    let name = (!adapters.is_empty()).then(|| key(adapters));
    if let Some(name) = &name
        && !session.loaded().map_err(told)?.has_adapter(name)
        && let Some(adapter) = together(session, adapters).await?
    {
        let name = name.clone();
        session
            .add_adapter(Beside { name, adapter })
            .await
            .map_err(told)?;
    }
    let adapt = Command::Adapt { name };
    session
        .handle(adapt, &mut |event| responder.event(event))
        .await;
    Ok(())
}

/// Has an adapter that requests can name.
pub async fn add(
    session: &mut Session,
    name: String,
    adapter: &AdapterSource,
    responder: Responder,
) {
    let added = async {
        let adapter = Rc::new(read(adapter).await?);
        let added = session.add_adapter(Beside { name, adapter }).await;
        added.map_err(|problem| problem.to_string())?;
        let loaded = session.loaded().map_err(|problem| problem.to_string())?;
        Ok(Box::new(loaded.info.clone()))
    };
    match added.await {
        Ok(model) => responder.event(Event::Loaded { model }),
        Err(problem) => responder.error(problem),
    }
}

/// What tells adapters that are used together from others.
fn key(adapters: &[AdapterSource]) -> String {
    let of_file = |file: &Handle| {
        let file = &file.0;
        format!("{} {} {}", file.name(), file.size(), file.last_modified())
    };
    let of = |adapter: &AdapterSource| match adapter {
        AdapterSource::Kept { id } => id.clone(),
        AdapterSource::Files(files) => files.iter().map(of_file).collect::<Vec<_>>().join("+"),
    };
    adapters.iter().map(of).collect::<Vec<_>>().join(", ")
}

/// What the adapters are as one; none of none.
async fn together(
    session: &mut Session,
    adapters: &[AdapterSource],
) -> Result<Option<Rc<dyn LowRankAdapter>>, String> {
    let mut all = Vec::new();
    for adapter in adapters {
        all.push(read(adapter).await?);
    }
    let one = match all.len() {
        0 => return Ok(None),
        1 => all.remove(0),
        _ => {
            let config = &session.loaded().map_err(|p| p.to_string())?.info.config;
            Adapter::combined(&all, config).map_err(|problem| problem.to_string())?
        }
    };
    Ok(Some(Rc::new(one)))
}

/// Keeps an adapter of the loaded model in one file; gives its id and the name it got.
pub async fn keep(
    session: &mut Session,
    adapter: &AdapterSource,
    name: &str,
) -> Result<(String, String), String> {
    let model = &session.loaded().map_err(|p| p.to_string())?.info;
    let file = read(adapter).await?.to_file(&model.config);
    let file = MemorySource::new(name, file.map_err(|problem| problem.to_string())?);
    let store = Store::open().await?;
    store.copy(&file, name, Some(model.name.clone())).await
}

async fn read(adapter: &AdapterSource) -> Result<Adapter, String> {
    match adapter {
        AdapterSource::Files(files) => read_files(files).await,
        AdapterSource::Kept { id } => {
            let file = Store::open().await?.file(id).await;
            let file = file.map_err(|_| "the adapter is not kept in this browser any more")?;
            let adapter = Adapter::parse_file(&bytes(&Handle(file)).await?);
            adapter.map_err(|problem| problem.to_string())
        }
    }
}

/// Of a folder as PEFT writes it, or of one file that has everything.
async fn read_files(files: &[Handle]) -> Result<Adapter, String> {
    let config = files.iter().find(|file| file.0.name() == CONFIG_FILE);
    let weights = files
        .iter()
        .find(|file| file.0.name().to_lowercase().ends_with(".safetensors"))
        .ok_or("its weights, adapter_model.safetensors, are missing; a .bin file is not read: save it as safetensors")?;
    let weights = bytes(weights).await?;
    let adapter = match config {
        Some(config) => {
            let config = bytes(config).await?;
            let config = String::from_utf8_lossy(&config);
            Adapter::parse(config.trim_start_matches('\u{feff}'), &weights)
        }
        None => Adapter::parse_file(&weights),
    };
    adapter.map_err(|problem| problem.to_string())
}

async fn bytes(file: &Handle) -> Result<Vec<u8>, String> {
    let buffer = JsFuture::from(file.0.array_buffer()).await;
    let buffer = buffer.map_err(|thrown| format!("{}: {}", file.0.name(), describe(thrown)))?;
    Ok(Uint8Array::new(&buffer).to_vec())
}
