//! Writing a folder that Hugging Face's transformers loads: packed BitNet matrices, or floats.

use serde_json::{Value as Json, json};

use crate::export::model::{ExportError, Family, Model, Stream, Weights, dense, family, matrix};
use crate::onebit::OneBit;
use ternary_common::bytes::{ByteSink, ByteSource};
use ternary_common::tokenizer::Tokenizer;
use ternary_core::config::{Activation, ModelConfig, QuantMode, RopeScaling, WeightScale};
use ternary_core::layout::Metadata;
use ternary_core::params::{self, Matrix, Param, ParamKind};

const TARGET: &str = "a Hugging Face folder";
/// Rows that share the bytes of a packed matrix.
const PACKED_ROWS: usize = 4;

#[derive(Clone, Copy, Debug)]
pub struct HfOptions {
    /// Every matrix in F16 instead of packed.
    pub dense: bool,
}

/// What was written into the sink, and the small files that belong beside it.
#[derive(Clone, Debug)]
pub struct HfReport {
    pub bytes: u64,
    /// Name and contents.
    pub files: Vec<(String, String)>,
}

/// How a matrix is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// uint8 `[rows / 4, cols]`, and its scale in a tensor of its own.
    Packed,
    F16,
    /// Beside packed matrices transformers casts nothing, and norms must not be rounded.
    F32,
}

/// Write `model.safetensors` into `sink`, and return the other files.
///
/// # Errors
/// What transformers has nothing for.
pub async fn write_hf(
    file: &OneBit,
    source: &dyn ByteSource,
    options: HfOptions,
    sink: &mut dyn ByteSink,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<HfReport, ExportError> {
    let model = Model { file, source };
    let config = model.config();
    let family = family(TARGET, config)?;
    let tensors = plan(config, options)?;
    let packed = tensors.iter().any(|(_, form)| *form == Some(Form::Packed));
    let mut kept = vec!["lm_head".to_owned()];
    let floats = |(p, form): &(Param, Option<Form>)| {
        let body = p.name.contains("_proj.") && *form != Some(Form::Packed);
        body.then(|| p.name.trim_end_matches(".weight").to_owned())
    };
    kept.extend(tensors.iter().filter_map(floats));
    let config_json = config_json(config, family, &file.metadata, packed.then_some(kept))?;

    let (head, total) = head(&tensors)?;
    let mut out = Stream { sink, at: 0 };
    out.push(&head).await?;
    for (p, form) in &tensors {
        let bytes = match (matrix(p), form) {
            (Some(m), Some(form)) => match (model.weights(p, m).await?, form) {
                (Weights::Codes { q, .. }, Form::Packed) => {
                    let mut bytes = packed_rows(&q.codes, m);
                    bytes.extend(q.scales[0].to_le_bytes());
                    bytes
                }
                (Weights::F32(bytes), _) => bytes,
                (weights, form) => {
                    let halves = match weights {
                        Weights::Codes { q, span } => dense(&q, span),
                        Weights::F32(bytes) | Weights::F16(bytes) => bytes,
                    };
                    if *form == Form::F32 {
                        widened(&halves)
                    } else {
                        halves
                    }
                }
            },
            _ => model
                .floats(p)
                .await?
                .iter()
                .flat_map(|v| v.to_le_bytes())
                .collect(),
        };
        out.push(&bytes).await?;
        progress(out.at, total);
        ternary_common::platform::yield_now().await;
    }
    let mut files = vec![("config.json".to_owned(), config_json)];
    files.extend(companions(&file.metadata)?);
    Ok(HfReport {
        bytes: out.at,
        files,
    })
}

/// Every parameter with the form of its matrix.
fn plan(
    config: &ModelConfig,
    options: HfOptions,
) -> Result<Vec<(Param, Option<Form>)>, ExportError> {
    // Embedding and head are never packed there.
    let low = |m: &Matrix| {
        matches!(m.mode, QuantMode::Ternary | QuantMode::Binary) && m.name.contains("_proj.")
    };
    // Packed matrices meet int8 activations in transformers; where the model's are floats, so must
    // its matrices be.
    let packs = !options.dense && config.activation_bits.is_some();
    let mut tensors = params::all(config)
        .into_iter()
        .map(|p| {
            let form = match &p.kind {
                ParamKind::Matrix(m) if packs && low(m) && m.rows.is_multiple_of(PACKED_ROWS) => {
                    if config.weight_scale != WeightScale::Tensor {
                        return Err(ExportError::Unsupported {
                            target: TARGET,
                            what: "weight_scale".into(),
                            found: format!("{:?}", config.weight_scale).to_lowercase(),
                            supported: "tensor, the only one for packed matrices; --pack-mode dense writes floats".into(),
                        });
                    }
                    Some(Form::Packed)
                }
                ParamKind::Matrix(m) if m.mode == QuantMode::F32 => Some(Form::F32),
                ParamKind::Matrix(_) => Some(Form::F16),
                _ => None,
            };
            Ok((p, form))
        })
        .collect::<Result<Vec<_>, ExportError>>()?;
    if tensors.iter().any(|(_, form)| *form == Some(Form::Packed)) {
        for (_, form) in &mut tensors {
            if *form == Some(Form::F16) {
                *form = Some(Form::F32);
            }
        }
    }
    Ok(tensors)
}

/// F16 as F32.
fn widened(halves: &[u8]) -> Vec<u8> {
    let values = halves.as_chunks::<2>().0.iter();
    values
        .flat_map(|b| half::f16::from_le_bytes(*b).to_f32().to_le_bytes())
        .collect()
}

/// Four rows a quarter of the matrix apart share bytes; 0, 1, 2 = −1, 0, +1.
fn packed_rows(codes: &[i8], m: &Matrix) -> Vec<u8> {
    let quarter = m.rows / PACKED_ROWS * m.cols;
    let byte = |at: usize| {
        (0..PACKED_ROWS).fold(0, |byte, i| {
            byte | ((codes[i * quarter + at] + 1) as u8) << (2 * i)
        })
    };
    (0..quarter).map(byte).collect()
}

/// The head of the safetensors file, and the file's length.
fn head(tensors: &[(Param, Option<Form>)]) -> Result<(Vec<u8>, u64), ExportError> {
    let mut entries = serde_json::Map::new();
    entries.insert("__metadata__".into(), json!({"format": "pt"}));
    let mut at = 0usize;
    let mut add = |name: String, dtype: &str, shape: Vec<usize>, bytes: usize| {
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [at, at + bytes]});
        at += bytes;
        entries.insert(name, entry);
    };
    for (p, form) in tensors {
        let (name, len) = (p.name.clone(), p.len());
        match form {
            None | Some(Form::F32) => add(name, "F32", p.shape.clone(), 4 * len),
            Some(Form::F16) => add(name, "F16", p.shape.clone(), 2 * len),
            Some(Form::Packed) => {
                let shape = vec![p.shape[0] / PACKED_ROWS, p.shape[1]];
                add(name.clone(), "U8", shape, len / PACKED_ROWS);
                add(format!("{name}_scale"), "F32", vec![1], 4);
            }
        }
    }
    let mut text = Json::Object(entries).to_string().into_bytes();
    // The data begins at a multiple of 8.
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut head = (text.len() as u64).to_le_bytes().to_vec();
    head.extend(text);
    let total = (head.len() + at) as u64;
    Ok((head, total))
}

fn config_json(
    c: &ModelConfig,
    family: Family,
    meta: &Metadata,
    quantized_but: Option<Vec<String>>,
) -> Result<String, ExportError> {
    let (architecture, model_type) = match family {
        Family::Llama => ("LlamaForCausalLM", "llama"),
        Family::Qwen3 => ("Qwen3ForCausalLM", "qwen3"),
        Family::BitNet => ("BitNetForCausalLM", "bitnet"),
    };
    let rope = match &c.rope_scaling {
        None => json!({"rope_type": "default"}),
        Some(RopeScaling::Linear { factor }) => json!({"rope_type": "linear", "factor": factor}),
        Some(RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        }) => json!({
            "rope_type": "llama3", "factor": factor, "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            "original_max_position_embeddings": original_max_position_embeddings,
        }),
        Some(RopeScaling::Yarn {
            factor,
            original_max_position_embeddings,
            beta_fast,
            beta_slow,
            attention_factor,
            truncate,
        }) => json!({
            "rope_type": "yarn", "factor": factor, "beta_fast": beta_fast, "beta_slow": beta_slow,
            "original_max_position_embeddings": original_max_position_embeddings,
            "attention_factor": attention_factor, "truncate": truncate,
        }),
        Some(RopeScaling::LongRope {
            short_factors,
            long_factors,
            original_max_position_embeddings,
            attention_factor,
        }) => json!({
            "rope_type": "longrope", "short_factor": short_factors, "long_factor": long_factors,
            "original_max_position_embeddings": original_max_position_embeddings,
            "attention_factor": attention_factor,
        }),
        Some(RopeScaling::Factors { .. }) => {
            return Err(ExportError::Unsupported {
                target: TARGET,
                what: "rope_scaling".into(),
                found: "a factor for each frequency".into(),
                supported: "unset, linear, llama3, yarn or longrope".into(),
            });
        }
    };
    let mut parameters = rope.clone();
    parameters["rope_theta"] = json!(c.rope_theta);
    let ends = ends(meta)?;
    let mut config = json!({
        "architectures": [architecture],
        "model_type": model_type,
        "vocab_size": c.vocab_size,
        "hidden_size": c.hidden_size,
        "intermediate_size": c.intermediate_size,
        "num_hidden_layers": c.num_layers,
        "num_attention_heads": c.num_heads,
        "num_key_value_heads": c.kv_heads(),
        "head_dim": c.head_dim(),
        "hidden_act": if c.activation() == Activation::Relu2 { "relu2" } else { "silu" },
        "max_position_embeddings": c.max_seq_len,
        "rms_norm_eps": c.rms_norm_eps,
        "tie_word_embeddings": c.tie_word_embeddings,
        "attention_bias": false,
        "mlp_bias": false,
        "attention_dropout": 0.0,
        "use_cache": true,
        "dtype": "float32",
        "torch_dtype": "float32",
        "bos_token_id": ends.bos,
        "eos_token_id": ends.eos,
        // Where newer and where older versions look.
        "rope_parameters": parameters,
        "rope_theta": c.rope_theta,
    });
    if c.rope_scaling.is_some() {
        config["rope_scaling"] = rope;
    }
    if let Some(kept) = quantized_but {
        config["quantization_config"] = json!({
            "quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "offline",
            "use_rms_norm": false, "rms_norm_eps": 1e-6, "modules_to_not_convert": kept,
        });
    }
    Ok(format!("{config:#}\n"))
}

#[derive(Default)]
struct Ends {
    bos: Option<u32>,
    eos: Option<Json>,
}

/// Ids that begin and end a text.
fn ends(meta: &Metadata) -> Result<Ends, ExportError> {
    let Some(text) = &meta.tokenizer else {
        return Ok(Ends::default());
    };
    let tokenizer =
        Tokenizer::from_json(text).map_err(|e| ExportError::Tokenizer(e.to_string()))?;
    let special = meta.special_tokens.clone().unwrap_or_default();
    let id = |text: &Option<String>| text.as_ref().and_then(|t| tokenizer.id(t));
    let mut all = special.end.clone();
    all.extend((0..meta.config.vocab_size as u32).filter(|id| tokenizer.is_end(*id)));
    all.extend(id(&special.eos));
    all.sort_unstable();
    all.dedup();
    Ok(Ends {
        bos: id(&special.bos),
        eos: match all.as_slice() {
            [] => None,
            [one] => Some(json!(one)),
            several => Some(json!(several)),
        },
    })
}

/// Tokenizer and chat template.
fn companions(meta: &Metadata) -> Result<Vec<(String, String)>, ExportError> {
    let Some(tokenizer) = &meta.tokenizer else {
        return Ok(Vec::new());
    };
    let special = meta.special_tokens.clone().unwrap_or_default();
    let mut settings = json!({"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": meta.config.max_seq_len});
    for (key, text) in [("bos_token", special.bos), ("eos_token", special.eos)] {
        if let Some(text) = text {
            settings[key] = json!(text);
        }
    }
    let mut files = vec![("tokenizer.json".to_owned(), tokenizer.clone())];
    if let Some(template) = &meta.chat_template {
        settings["chat_template"] = json!(template);
    }
    files.push((
        "tokenizer_config.json".to_owned(),
        format!("{settings:#}\n"),
    ));
    Ok(files)
}
