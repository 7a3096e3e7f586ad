//! Tensors by name, and the safetensors files that hold them: whole, or the head of a file that is
//! read piece by piece.

pub(crate) mod head;

use std::collections::HashMap;

use ::safetensors::tensor::{Dtype, SafeTensors, TensorView};

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
    ::safetensors::serialize(views, metadata).map_err(|e| e.to_string())
}

/// Shape of an f32 tensor and its name.
pub type Declared = (String, Vec<usize>);

/// Writes a safetensors file of f32 tensors one after another, in memory for one of them. The bytes
/// are those of [`serialize`].
#[cfg(feature = "native")]
#[derive(Debug)]
pub struct TensorWriter<W> {
    out: W,
    /// Those that are still to come, the next one last.
    left: Vec<Declared>,
}

#[cfg(feature = "native")]
impl<W: std::io::Write> TensorWriter<W> {
    /// Write the header of a file with the tensors `all`; returns the order in which they are to be
    /// given, too.
    pub fn new(mut out: W, mut all: Vec<Declared>) -> std::io::Result<(Self, Vec<String>)> {
        all.sort();
        let mut header = serde_json::Map::new();
        let mut at = 0;
        for (name, shape) in &all {
            let end = at + 4 * shape.iter().product::<usize>();
            header.insert(
                name.clone(),
                serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [at, end]}),
            );
            at = end;
        }
        let mut header = serde_json::Value::Object(header).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        let order = all.iter().map(|(name, _)| name.clone()).collect();
        all.reverse();
        Ok((TensorWriter { out, left: all }, order))
    }

    /// Write the values of the next tensor.
    pub fn push(&mut self, values: &[f32]) -> std::io::Result<()> {
        let expected = self
            .left
            .pop()
            .map(|(_, shape)| shape.iter().product::<usize>());
        if expected != Some(values.len()) {
            return Err(std::io::Error::other(format!(
                "a tensor of {} values where {expected:?} are due",
                values.len()
            )));
        }
        self.out.write_all(bytemuck::cast_slice(values))
    }

    /// The writer, when all tensors have come.
    pub fn finish(self) -> std::io::Result<W> {
        match self.left.last() {
            None => Ok(self.out),
            Some((name, _)) => Err(std::io::Error::other(format!("tensor {name} has not come"))),
        }
    }
}

#[cfg(all(test, feature = "native"))]
mod tests {
    use super::*;

    #[test]
    fn tensors_written_one_by_one_are_the_file_written_at_once() {
        let tensor = |name: &str, shape: &[usize]| {
            let values = (0..shape.iter().product())
                .map(|i| i as f32 / 3.0)
                .collect();
            (name.to_owned(), shape.to_vec(), values)
        };
        let all: Vec<(String, Vec<usize>, Vec<f32>)> = vec![
            tensor("v.b", &[2, 3]),
            tensor("m.a", &[5]),
            tensor("m.\"ü", &[1]),
            tensor("m.b", &[0]),
        ];
        let declared = all
            .iter()
            .map(|(name, shape, _)| (name.clone(), shape.clone()))
            .collect();
        let (mut writer, order) = TensorWriter::new(Vec::new(), declared).unwrap();
        for name in order {
            let (_, _, values) = all.iter().find(|(n, ..)| *n == name).unwrap();
            writer.push(values).unwrap();
        }
        assert_eq!(writer.finish().unwrap(), serialize(&all).unwrap());
        let (mut writer, _) = TensorWriter::new(Vec::new(), vec![("a".into(), vec![2])]).unwrap();
        assert!(writer.push(&[1.0]).is_err());
    }
}
