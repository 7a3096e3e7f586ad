//! A file or a downloaded model, read slice by slice: never whole in wasm's memory.

use js_sys::Uint8Array;
use ternary::backend::LocalFuture;
use ternary::format::ByteSource;
use wasm_bindgen_futures::JsFuture;
use web_sys::Blob;

use super::cancel::Cancel;
use crate::js::describe;

pub struct BlobSource {
    name: String,
    blob: Blob,
    cancel: Cancel,
}

impl BlobSource {
    /// Reading fails while `cancel` is raised.
    pub fn new(name: String, blob: Blob, cancel: Cancel) -> Self {
        Self { name, blob, cancel }
    }

    async fn slice(&self, offset: u64, len: usize) -> Result<Vec<u8>, String> {
        if self.cancel.is_raised() {
            return Err("given up".to_owned());
        }
        let end = offset.saturating_add(len as u64);
        let slice = self
            .blob
            .slice_with_f64_and_f64(offset as f64, end as f64)
            .map_err(describe)?;
        let buffer = JsFuture::from(slice.array_buffer())
            .await
            .map_err(|thrown| {
                let reason = describe(thrown);
                format!(
                    "it was deleted, moved or changed since it was opened; open it again ({reason})"
                )
            })?;
        let bytes = Uint8Array::new(&buffer).to_vec();
        if bytes.len() != len {
            return Err(format!(
                "it ends early: {len} bytes expected at {offset}, {} found",
                bytes.len()
            ));
        }
        Ok(bytes)
    }
}

impl ByteSource for BlobSource {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn len(&self) -> u64 {
        self.blob.size() as u64
    }

    fn read(&self, offset: u64, len: usize) -> LocalFuture<'_, Result<Vec<u8>, String>> {
        Box::pin(self.slice(offset, len))
    }
}
