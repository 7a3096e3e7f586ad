//! Adapters beside the loaded model.

use std::rc::Rc;

use js_sys::Uint8Array;
use ternary::adapter::{Adapter, CONFIG_FILE};
use ternary::session::{DeviceChoice, Event, Session};
use wasm_bindgen_futures::JsFuture;

use super::Responder;
use crate::js::describe;
use crate::protocol::Handle;

/// Loads the present model again, with the adapter in `files`. Where that fails the model answers
/// as before.
pub async fn adapt(
    session: &mut Session,
    files: &[Handle],
    device: DeviceChoice,
    responder: Responder,
) {
    let Some(source) = session.source() else {
        return responder.error("no model is loaded for the adapter".to_owned());
    };
    let adapter = match read(files).await {
        Ok(adapter) => adapter,
        Err(problem) => return responder.error(problem),
    };
    let mut failure = None;
    session
        .load_adapted(
            source,
            Some(Rc::new(adapter)),
            device,
            &mut |event| match event {
                Event::Error { message } => failure = Some(message),
                event => responder.event(event),
            },
        )
        .await;
    if let Some(problem) = failure {
        responder.error(problem);
    }
}

/// Of a folder as PEFT writes it, or of one file that has everything.
async fn read(files: &[Handle]) -> Result<Adapter, String> {
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
