//! Tensors by name, and the safetensors files that hold them.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

/// Values of parameters by name.
pub type Parameters = HashMap<String, Vec<f32>>;

/// Shape and values of tensors by name.
pub type Tensors = HashMap<String, (Vec<usize>, Vec<f32>)>;

/// Tensors of a safetensors file as f32 (F32, F16 and BF16 are read).
pub fn parse(bytes: &[u8]) -> Result<Tensors, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let mut out = HashMap::new();
    for (name, view) in file.tensors() {
        let d = view.data();
        let pairs = || d.as_chunks::<2>().0.iter().map(|b| u16::from_le_bytes(*b));
        let values: Vec<f32> = match view.dtype() {
            Dtype::F32 => d
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect(),
            Dtype::F16 => pairs().map(|b| half::f16::from_bits(b).to_f32()).collect(),
            Dtype::BF16 => pairs().map(|b| half::bf16::from_bits(b).to_f32()).collect(),
            other => {
                return Err(format!(
                    "tensor {name} has type {other:?}; supported: F32, F16, BF16"
                ));
            }
        };
        out.insert(name, (view.shape().to_vec(), values));
    }
    Ok(out)
}

/// A safetensors file of f32 tensors (name, shape, values).
pub fn serialize(tensors: &[(String, Vec<usize>, Vec<f32>)]) -> Result<Vec<u8>, String> {
    serialize_with(tensors, None)
}

/// As [`serialize`], with texts by name in the file's metadata.
pub fn serialize_with(
    tensors: &[(String, Vec<usize>, Vec<f32>)],
    metadata: Option<HashMap<String, String>>,
) -> Result<Vec<u8>, String> {
    let views = tensors
        .iter()
        .map(|(name, shape, values)| {
            TensorView::new(Dtype::F32, shape.clone(), bytemuck::cast_slice(values))
                .map(|v| (name.as_str(), v))
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| e.to_string())?;
    safetensors::serialize(views, metadata).map_err(|e| e.to_string())
}
