//! Adapters beside the loaded model.

use std::rc::Rc;

use js_sys::Uint8Array;
use ternary::adapter::{Adapter, CONFIG_FILE};
use ternary::format::MemorySource;
use ternary::infer::LowRankAdapter;
use ternary::session::{DeviceChoice, Event, Session};
use wasm_bindgen_futures::JsFuture;

use super::Responder;
use super::store::Store;
use crate::js::describe;
use crate::protocol::{AdapterSource, Handle};

/// Loads the present model again, with these adapters beside it. Where that fails the model answers
/// as before.
pub async fn adapt(
    session: &mut Session,
    adapters: &[AdapterSource],
    device: DeviceChoice,
    responder: Responder,
) {
    let Some(source) = session.source() else {
        return responder.error("no model is loaded for the adapter".to_owned());
    };
    let adapter = match together(session, adapters).await {
        Ok(adapter) => adapter,
        Err(problem) => return responder.error(problem),
    };
    let adapter = adapter.map(|adapter| Rc::new(adapter) as Rc<dyn LowRankAdapter>);
    let mut failure = None;
    session
        .load_adapted(source, adapter, device, &mut |event| match event {
            Event::Error { message } => failure = Some(message),
            event => responder.event(event),
        })
        .await;
    if let Some(problem) = failure {
        responder.error(problem);
    }
}

/// What the adapters are as one; none of none.
async fn together(
    session: &mut Session,
    adapters: &[AdapterSource],
) -> Result<Option<Adapter>, String> {
    let mut all = Vec::new();
    for adapter in adapters {
        all.push(read(adapter).await?);
    }
    if all.len() < 2 {
        return Ok(all.pop());
    }
    let config = &session.loaded().map_err(|p| p.to_string())?.info.config;
    let one = Adapter::combined(&all, config);
    one.map(Some).map_err(|problem| problem.to_string())
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
