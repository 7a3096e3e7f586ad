//! A safetensors file: the header's length, the header as JSON, the values.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::{Weights, put};

/// Write `weights` to `path`. `metadata` becomes the header's `__metadata__`: pairs of name and
/// text.
pub fn write_safetensors(path: &Path, weights: &Weights, metadata: &[(&str, &str)]) {
    let mut header = Map::new();
    let metadata: Map<String, Value> = metadata
        .iter()
        .map(|(k, v)| (k.to_string(), json!(v)))
        .collect();
    header.insert("__metadata__".into(), Value::Object(metadata));
    let mut data = Vec::new();
    for (name, tensor) in &weights.0 {
        let start = data.len();
        data.extend_from_slice(&tensor.bytes);
        header.insert(
            name.clone(),
            json!({"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [start, data.len()]}),
        );
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.append(&mut header);
    file.append(&mut data);
    put(path, file);
}
