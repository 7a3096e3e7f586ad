//! Writing GGUF, version 3, as llama.cpp loads it.

use super::{blocks, names, write_vocab};
use crate::export::model::{ExportError, Family, Model, Stream, Weights, dense, family, matrix};
use crate::onebit::OneBit;
use crate::source::storage::Storage;
use ternary_common::bytes::{ByteSink, ByteSource};
use ternary_core::config::{Activation, ModelConfig, QuantMode, RopeScaling};
use ternary_core::params::{self, Matrix, Param};

pub(crate) const GGUF: &str = "GGUF";
/// Tensors begin at multiples of this.
const ALIGN: u64 = 32;

#[derive(Clone, Copy, Debug)]
pub struct GgufOptions {
    /// TQ1_0 (1.69 bits a weight) instead of TQ2_0 (2.06, faster) for ternary matrices.
    pub base3: bool,
}

#[derive(Clone, Debug)]
pub struct GgufReport {
    pub bytes: u64,
    pub architecture: &'static str,
    /// Ternary and binary matrices that the wanted type cannot hold, and the type they are in.
    pub others: Vec<(String, String)>,
}

/// Metadata as bytes.
#[derive(Default)]
pub(crate) struct Values {
    count: u64,
    bytes: Vec<u8>,
}

impl Values {
    fn key(&mut self, key: &str, kind: u32) {
        self.count += 1;
        self.text_bytes(key);
        self.bytes.extend(kind.to_le_bytes());
    }

    fn text_bytes(&mut self, text: &str) {
        self.bytes.extend((text.len() as u64).to_le_bytes());
        self.bytes.extend(text.as_bytes());
    }

    pub fn number(&mut self, key: &str, value: usize) {
        self.key(key, 4);
        self.bytes.extend((value as u32).to_le_bytes());
    }

    pub fn float(&mut self, key: &str, value: f32) {
        self.key(key, 6);
        self.bytes.extend(value.to_le_bytes());
    }

    pub fn flag(&mut self, key: &str, value: bool) {
        self.key(key, 7);
        self.bytes.push(value.into());
    }

    pub fn text(&mut self, key: &str, value: &str) {
        self.key(key, 8);
        self.text_bytes(value);
    }

    fn array(&mut self, key: &str, kind: u32, len: usize) {
        self.key(key, 9);
        self.bytes.extend(kind.to_le_bytes());
        self.bytes.extend((len as u64).to_le_bytes());
    }

    pub fn texts(&mut self, key: &str, values: &[String]) {
        self.array(key, 8, values.len());
        for value in values {
            self.text_bytes(value);
        }
    }

    pub fn integers(&mut self, key: &str, values: &[i32]) {
        self.array(key, 5, values.len());
        self.bytes
            .extend(values.iter().flat_map(|v| v.to_le_bytes()));
    }

    pub fn floats(&mut self, key: &str, values: &[f32]) {
        self.array(key, 6, values.len());
        self.bytes
            .extend(values.iter().flat_map(|v| v.to_le_bytes()));
    }
}

/// A tensor to be written.
struct Planned {
    /// None for the divisors of RoPE's frequencies, which follow from the configuration.
    param: Option<Param>,
    name: String,
    shape: Vec<usize>,
    storage: Storage,
    offset: u64,
}

/// Write the model as one GGUF file.
///
/// # Errors
/// What GGUF or llama.cpp has nothing for.
pub async fn write_gguf(
    file: &OneBit,
    source: &dyn ByteSource,
    options: GgufOptions,
    sink: &mut dyn ByteSink,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<GgufReport, ExportError> {
    let model = Model { file, source };
    let config = model.config();
    let architecture = architecture(config)?;
    let mut others = Vec::new();
    let (tensors, data_len) = plan(config, options, &mut others)?;
    let mut values = Values::default();
    describe(&mut values, file, architecture)?;

    let mut head = b"GGUF\x03\0\0\0".to_vec();
    head.extend((tensors.len() as u64).to_le_bytes());
    head.extend(values.count.to_le_bytes());
    head.extend(&values.bytes);
    for t in &tensors {
        head.extend((t.name.len() as u64).to_le_bytes());
        head.extend(t.name.as_bytes());
        head.extend((t.shape.len() as u32).to_le_bytes());
        for n in t.shape.iter().rev() {
            head.extend((*n as u64).to_le_bytes());
        }
        let (kind, _) = t.storage.gguf_type().unwrap_or_default();
        head.extend(kind.to_le_bytes());
        head.extend(t.offset.to_le_bytes());
    }
    head.resize((head.len() as u64).next_multiple_of(ALIGN) as usize, 0);
    let data = head.len() as u64;
    let total = data + data_len;
    let mut out = Stream { sink, at: 0 };
    out.push(&head).await?;
    for t in &tensors {
        let mut bytes = match &t.param {
            None => rope_divisors(config)
                .iter()
                .flat_map(|v| v.to_le_bytes())
                .collect(),
            Some(p) => match matrix(p) {
                None => model
                    .floats(p)
                    .await?
                    .iter()
                    .flat_map(|v| v.to_le_bytes())
                    .collect(),
                Some(m) => {
                    let mut weights = model.weights(p, m).await?;
                    if architecture == "llama" {
                        in_pairs(&mut weights, m, config.head_dim());
                    }
                    encode(weights, t.storage, &t.name)?
                }
            },
        };
        bytes.resize((bytes.len() as u64).next_multiple_of(ALIGN) as usize, 0);
        out.push(&bytes).await?;
        progress(out.at, total);
        ternary_common::platform::yield_now().await;
    }
    Ok(GgufReport {
        bytes: out.at,
        architecture,
        others,
    })
}

fn architecture(c: &ModelConfig) -> Result<&'static str, ExportError> {
    Ok(match family(GGUF, c)? {
        Family::Llama => "llama",
        Family::Qwen3 => "qwen3",
        // llama.cpp's `bitnet` has SiLU and a tied head; bitnet.cpp knows relu² under another name.
        Family::BitNet if c.activation() == Activation::Relu2 => "bitnet-b1.58",
        Family::BitNet if !c.tie_word_embeddings => {
            return Err(ExportError::Unsupported {
                target: GGUF,
                what: "tie_word_embeddings".into(),
                found: "false in a model with sub-norms".into(),
                supported: "true".into(),
            });
        }
        Family::BitNet => "bitnet",
    })
}

fn plan(
    config: &ModelConfig,
    options: GgufOptions,
    others: &mut Vec<(String, String)>,
) -> Result<(Vec<Planned>, u64), ExportError> {
    let wanted = if options.base3 {
        Storage::Tq1_0
    } else {
        Storage::Tq2_0
    };
    let mut tensors: Vec<Planned> = params::all(config)
        .into_iter()
        .map(|p| {
            let name = names::theirs(&p.name);
            let storage = match matrix(&p) {
                None => Storage::F32,
                Some(m) => {
                    let storage = storage(m, wanted);
                    let low = matches!(m.mode, QuantMode::Ternary | QuantMode::Binary);
                    if low && storage != wanted {
                        let (_, kind) = storage.gguf_type().unwrap_or_default();
                        others.push((name.clone(), kind.to_owned()));
                    }
                    storage
                }
            };
            Planned {
                name,
                shape: p.shape.clone(),
                storage,
                offset: 0,
                param: Some(p),
            }
        })
        .collect();
    // Linear scaling has metadata of its own.
    if !matches!(config.rope_scaling, None | Some(RopeScaling::Linear { .. })) {
        tensors.push(Planned {
            param: None,
            name: "rope_freqs.weight".into(),
            shape: vec![config.head_dim() / 2],
            storage: Storage::F32,
            offset: 0,
        });
    }
    let mut end = 0u64;
    for t in &mut tensors {
        t.offset = end;
        let (rows, cols) = match t.shape.as_slice() {
            [rows, cols] => (*rows as u64, *cols as u64),
            other => (1, other.iter().product::<usize>() as u64),
        };
        let bytes = t.storage.bytes(rows, cols).unwrap_or(0);
        end = (end + bytes).next_multiple_of(ALIGN);
    }
    Ok((tensors, end))
}

/// The type a matrix is exported in: the wanted one if its rows and scales fit, then one of smaller
/// blocks where groups have scales, then Q8_0, which holds the same codes, then F16.
fn storage(m: &Matrix, wanted: Storage) -> Storage {
    let span = m.quant.span_len(m.rows, m.cols);
    let choices: &[Storage] = match m.mode {
        QuantMode::F32 => return Storage::F32,
        QuantMode::F16 => &[],
        QuantMode::EightBit => &[Storage::Q8_0],
        QuantMode::Ternary if span < m.cols => &[wanted, Storage::Q2_0, Storage::Q8_0],
        QuantMode::Binary if span < m.cols => {
            &[wanted, Storage::Q1_0, Storage::Q2_0, Storage::Q8_0]
        }
        QuantMode::Ternary | QuantMode::Binary => &[wanted, Storage::Q8_0],
    };
    let fitting = choices.iter().find(|s| blocks::fits(**s, m.cols, span));
    fitting.copied().unwrap_or(Storage::F16)
}

fn encode(weights: Weights, storage: Storage, name: &str) -> Result<Vec<u8>, ExportError> {
    match weights {
        Weights::F32(bytes) | Weights::F16(bytes) => Ok(bytes),
        Weights::Codes { q, span } if storage == Storage::F16 => Ok(dense(&q, span)),
        Weights::Codes { q, span } => blocks::encode(storage, &q, span, name),
    }
}

/// Rows of q and k from halves (p · head_dim/2 + j) to pairs (2j + p).
fn in_pairs(weights: &mut Weights, m: &Matrix, head_dim: usize) {
    fn reorder<T: Copy>(values: &mut [T], width: usize, head_dim: usize) {
        for head in values.chunks_exact_mut(head_dim * width) {
            let halves = head.to_vec();
            for (row, to) in head.chunks_exact_mut(width).enumerate() {
                let from = row % 2 * (head_dim / 2) + row / 2;
                to.copy_from_slice(&halves[from * width..][..width]);
            }
        }
    }
    if !["q_proj.", "k_proj."]
        .iter()
        .any(|part| m.name.contains(part))
    {
        return;
    }
    match weights {
        Weights::F32(bytes) => reorder(bytes, 4 * m.cols, head_dim),
        Weights::F16(bytes) => reorder(bytes, 2 * m.cols, head_dim),
        Weights::Codes { q, .. } => {
            reorder(&mut q.codes, m.cols, head_dim);
            if q.scales.len() >= m.rows {
                let width = q.scales.len() / m.rows;
                reorder(&mut q.scales, width, head_dim);
            }
        }
    }
}

/// What each frequency is divided by.
fn rope_divisors(c: &ModelConfig) -> Vec<f32> {
    let plain = ModelConfig {
        rope_scaling: None,
        ..c.clone()
    };
    (0..c.head_dim() / 2)
        .map(|j| (plain.rope_frequency(j) / c.rope_frequency(j)) as f32)
        .collect()
}

fn describe(v: &mut Values, file: &OneBit, architecture: &str) -> Result<(), ExportError> {
    let (meta, c) = (&file.metadata, &file.metadata.config);
    v.text("general.architecture", architecture);
    v.text(
        "general.name",
        if meta.name.is_empty() {
            "model"
        } else {
            &meta.name
        },
    );
    for (key, text) in [
        ("description", &meta.description),
        ("license", &meta.license),
    ] {
        if !text.is_empty() {
            v.text(&format!("general.{key}"), text);
        }
    }
    let key = |name: &str| format!("{architecture}.{name}");
    for (name, value) in [
        ("vocab_size", c.vocab_size),
        ("context_length", c.max_seq_len),
        ("embedding_length", c.hidden_size),
        ("block_count", c.num_layers),
        ("feed_forward_length", c.intermediate_size),
        ("attention.head_count", c.num_heads),
        ("attention.head_count_kv", c.kv_heads()),
        ("attention.key_length", c.head_dim()),
        ("attention.value_length", c.head_dim()),
        ("rope.dimension_count", c.head_dim()),
    ] {
        v.number(&key(name), value);
    }
    v.float(&key("attention.layer_norm_rms_epsilon"), c.rms_norm_eps);
    v.float(&key("rope.freq_base"), c.rope_theta);
    if let Some(RopeScaling::Linear { factor }) = c.rope_scaling {
        v.text(&key("rope.scaling.type"), "linear");
        v.float(&key("rope.scaling.factor"), factor);
    }
    write_vocab::describe(v, meta)
}
