//! Writing a folder that Hugging Face's transformers loads: packed BitNet matrices, or floats.

use serde_json::{Value as Json, json};

use super::config::Family;
use crate::export::family::{Target, family};
use crate::export::model::{ExportError, Model, Stream, Weights, dense, matrix};
use crate::onebit::OneBit;
use ternary_common::bytes::{ByteSink, ByteSource};
use ternary_common::tokenizer::Tokenizer;
use ternary_core::config::{
    Activation, MatrixKind, ModelConfig, QuantMode, RopeScaling, WeightScale,
};
use ternary_core::layout::Metadata;
use ternary_core::params::{self, Matrix, Param, ParamKind, norms};

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
    let config = &file.metadata.config;
    let family = family(Target::Hf, config)?;
    let gemma = matches!(family, Family::Gemma | Family::Gemma2 | Family::Gemma3);
    let model = Model {
        file,
        source,
        family,
        query_factor: 1.0,
        norms_from_one: gemma,
    };
    let mut tensors = plan(config, family, options)?;
    if family == Family::StableLm && config.parallel_residual {
        model.check_shared_norms().await?;
        tensors.retain(|(p, _)| !p.name.contains(norms::MLP_INPUT));
    }
    let packed = tensors.iter().any(|(_, form)| *form == Some(Form::Packed));
    let mut kept = vec!["lm_head".to_owned()];
    let floats = |(p, form): &(Param, Option<Form>)| {
        let body = p.name.contains("_proj.") && *form != Some(Form::Packed);
        body.then(|| p.name.trim_end_matches(".weight").to_owned())
    };
    kept.extend(tensors.iter().filter_map(floats));
    let config_json = config_json(config, family, &file.metadata, packed.then_some(kept))?;

    let pieces = pieces(family, tensors);
    let (head, total) = head(&pieces)?;
    let mut out = Stream { sink, at: 0 };
    out.push(&head).await?;
    for piece in &pieces {
        let mut parts = Vec::new();
        for (p, form) in &piece.parts {
            parts.push(part(&model, p, *form).await?);
        }
        out.push(&piece.joined(parts, config)).await?;
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

/// The bytes of one parameter.
async fn part(model: &Model<'_>, p: &Param, form: Option<Form>) -> Result<Vec<u8>, ExportError> {
    let (Some(m), Some(form)) = (matrix(p), form) else {
        let values = model.floats(p).await?;
        return Ok(values.iter().flat_map(|v| v.to_le_bytes()).collect());
    };
    Ok(match (model.weights(p, m).await?, form) {
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
            if form == Form::F32 {
                widened(&halves)
            } else {
                halves
            }
        }
    })
}

/// How parameters share a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Joined {
    /// Rows of each behind those of the other.
    Rows,
    /// Rows of each for a head, then for the next.
    Heads,
    /// As `[inputs, outputs]`, side by side.
    Columns,
}

/// A tensor of the folder.
struct Piece {
    name: String,
    parts: Vec<(Param, Option<Form>)>,
    joined: Joined,
}

impl Piece {
    fn rows(&self) -> usize {
        self.parts.iter().map(|(p, _)| p.shape[0]).sum()
    }

    fn shape(&self) -> Vec<usize> {
        let first = &self.parts[0].0.shape;
        match (self.joined, first.as_slice()) {
            (Joined::Columns, [_, cols]) => vec![*cols, self.rows()],
            (_, [_, cols]) => vec![self.rows(), *cols],
            _ => vec![self.rows()],
        }
    }

    fn joined(&self, parts: Vec<Vec<u8>>, c: &ModelConfig) -> Vec<u8> {
        let vector = self.parts[0].0.shape.len() == 1;
        match self.joined {
            Joined::Heads => {
                let each = parts[0].len() / c.num_heads;
                let heads = 0..c.num_heads;
                heads
                    .flat_map(|head| parts.iter().map(move |part| (head, part)))
                    .flat_map(|(head, part)| &part[head * each..][..each])
                    .copied()
                    .collect()
            }
            Joined::Columns if !vector => {
                let cols = self.parts[0].0.shape[1];
                let all: usize = parts.iter().map(Vec::len).sum();
                let width = all / self.rows() / cols;
                let rows = || {
                    parts
                        .iter()
                        .flat_map(|part| part.chunks_exact(cols * width))
                };
                (0..cols)
                    .flat_map(|col| rows().flat_map(move |row| &row[col * width..][..width]))
                    .copied()
                    .collect()
            }
            Joined::Rows | Joined::Columns => parts.concat(),
        }
    }
}

/// The tensors of a family's folders.
fn pieces(family: Family, tensors: Vec<(Param, Option<Form>)>) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    for (p, form) in tensors {
        let (name, joined) = family.theirs(&p.name);
        match pieces.iter_mut().find(|piece| piece.name == name) {
            Some(piece) => piece.parts.push((p, form)),
            None => pieces.push(Piece {
                name,
                parts: vec![(p, form)],
                joined,
            }),
        }
    }
    // Of several types, the widest.
    for piece in &mut pieces {
        let wide = piece.parts.iter().any(|(_, form)| *form == Some(Form::F32));
        for (_, form) in piece.parts.iter_mut().filter(|_| wide) {
            *form = Some(Form::F32);
        }
    }
    pieces
}

impl Family {
    /// What it calls a parameter, and how that is stored.
    fn theirs(self, ours: &str) -> (String, Joined) {
        const PARTS: [&str; 17] = [
            "wte",
            "wpe",
            "ln_f",
            "embed_in",
            "final_layer_norm",
            "embed_out",
            "ln_1",
            "ln_2",
            "attn.c_proj",
            "mlp.c_fc",
            "mlp.c_proj",
            "attention.dense",
            "mlp.dense_h_to_4h",
            "mlp.dense_4h_to_h",
            "post_attention_layernorm",
            "pre_feedforward_layernorm",
            "post_feedforward_layernorm",
        ];
        let (module, end) = ours.rsplit_once('.').unwrap_or((ours, "weight"));
        let layer = module
            .strip_prefix("model.layers.")
            .and_then(|rest| rest.split_once('.'));
        let part = layer.map_or(module, |(_, part)| part);
        let is = |kinds: &[MatrixKind]| kinds.iter().any(|kind| kind.module() == part);
        let qkv = is(&[MatrixKind::Q, MatrixKind::K, MatrixKind::V]);
        let (fused, joined) = match self {
            Family::Phi3 if qkv => (Some("self_attn.qkv_proj"), Joined::Rows),
            Family::Phi3 if is(&[MatrixKind::Gate, MatrixKind::Up]) => {
                (Some("mlp.gate_up_proj"), Joined::Rows)
            }
            Family::GptNeoX if qkv => (Some("attention.query_key_value"), Joined::Heads),
            Family::Gpt2 if qkv => (Some("attn.c_attn"), Joined::Columns),
            Family::Gpt2 if is(&MatrixKind::ALL) => (None, Joined::Columns),
            _ => (None, Joined::Rows),
        };
        let other = PARTS
            .into_iter()
            .find(|theirs| *theirs != part && self.renamed(theirs) == part);
        let theirs = fused.or(other).unwrap_or(part);
        let (prefix, layers) = match self {
            Family::Gpt2 => ("transformer.", "h."),
            Family::GptNeoX => ("gpt_neox.", "layers."),
            _ => ("model.", "layers."),
        };
        let name = match layer {
            Some((layer, _)) => format!("{prefix}{layers}{layer}.{theirs}.{end}"),
            // The head stands by itself.
            None if module == "lm_head" => format!("{theirs}.{end}"),
            None => {
                let theirs = theirs.strip_prefix("model.").unwrap_or(theirs);
                format!("{prefix}{theirs}.{end}")
            }
        };
        (name, joined)
    }
}

/// Every parameter with the form of its matrix.
fn plan(
    config: &ModelConfig,
    family: Family,
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
                    if matches!(family, Family::Phi3 | Family::GptNeoX | Family::Gpt2) {
                        return Target::Hf.refuse(
                            "the body",
                            "low-bit in a decoder with several matrices in one",
                            "floats; --pack-mode dense writes them",
                        );
                    }
                    if config.weight_scale != WeightScale::Tensor {
                        return Err(ExportError::Unsupported {
                            target: Target::Hf.name(),
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
fn head(pieces: &[Piece]) -> Result<(Vec<u8>, u64), ExportError> {
    let mut entries = serde_json::Map::new();
    entries.insert("__metadata__".into(), json!({"format": "pt"}));
    let mut at = 0usize;
    let mut add = |name: String, dtype: &str, shape: Vec<usize>, bytes: usize| {
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [at, at + bytes]});
        at += bytes;
        entries.insert(name, entry);
    };
    for piece in pieces {
        let (name, shape) = (piece.name.clone(), piece.shape());
        let len: usize = shape.iter().product();
        match piece.parts[0].1 {
            None | Some(Form::F32) => add(name, "F32", shape, 4 * len),
            Some(Form::F16) => add(name, "F16", shape, 2 * len),
            Some(Form::Packed) => {
                let packed = vec![shape[0] / PACKED_ROWS, shape[1]];
                add(name.clone(), "U8", packed, len / PACKED_ROWS);
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
    let (architecture, model_type) = (family.class(), family.name());
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
                target: Target::Hf.name(),
                what: "rope_scaling".into(),
                found: "a factor for each frequency".into(),
                supported: "unset, linear, llama3, yarn or longrope".into(),
            });
        }
    };
    let mut parameters = rope.clone();
    parameters["rope_theta"] = json!(c.rope_theta);
    if c.rotary_dim.is_some() {
        parameters["partial_rotary_factor"] = json!(partial(c));
    }
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
        "hidden_act": activation(c),
        "max_position_embeddings": c.max_seq_len,
        "rms_norm_eps": c.rms_norm_eps,
        "tie_word_embeddings": c.tie_word_embeddings,
        "attention_bias": has_biases(c, &[MatrixKind::Q, MatrixKind::O]),
        "mlp_bias": c.use_swiglu && has_biases(c, &[MatrixKind::Down]),
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
    own_fields(&mut config, c, family);
    if let Some(kept) = quantized_but {
        config["quantization_config"] = json!({
            "quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "offline",
            "use_rms_norm": false, "rms_norm_eps": 1e-6, "modules_to_not_convert": kept,
        });
    }
    Ok(format!("{config:#}\n"))
}

fn activation(c: &ModelConfig) -> &'static str {
    match c.activation() {
        Activation::Relu2 => "relu2",
        Activation::Silu => "silu",
        Activation::Gelu => "gelu_pytorch_tanh",
        Activation::GeluErf => "gelu",
    }
}

fn has_biases(c: &ModelConfig, kinds: &[MatrixKind]) -> bool {
    kinds.iter().all(|kind| c.biases.contains(kind))
}

/// The share of a head that is rotated, so that the product with its width is rounded down to the
/// number of dimensions.
fn partial(c: &ModelConfig) -> f64 {
    let (rotary, width) = (c.rotary_dim(), c.head_dim() as f64);
    let share = rotary as f64 / width;
    match ((share * width) as usize) < rotary {
        true => share.next_up(),
        false => share,
    }
}

/// Fields that only some decoders have.
fn own_fields(config: &mut Json, c: &ModelConfig, family: Family) {
    if matches!(family, Family::Llama | Family::Qwen3 | Family::BitNet)
        && c.sliding_window.is_none()
    {
        return;
    }
    // Of several families the default is a token that a small vocabulary has not.
    config["pad_token_id"] = Json::Null;
    let layer_norm = json!(c.rms_norm_eps);
    match family {
        Family::Gpt2 => {
            let ends = [
                "architectures",
                "model_type",
                "vocab_size",
                "tie_word_embeddings",
            ];
            let more = [
                "bos_token_id",
                "eos_token_id",
                "dtype",
                "torch_dtype",
                "use_cache",
            ];
            let activation = match c.activation() {
                Activation::Gelu => "gelu_new",
                _ => activation(c),
            };
            let mut own = json!({
                "n_embd": c.hidden_size, "n_head": c.num_heads, "n_layer": c.num_layers,
                "n_positions": c.max_seq_len, "n_inner": c.intermediate_size,
                "activation_function": activation, "layer_norm_epsilon": layer_norm,
            });
            for name in ends.into_iter().chain(more) {
                own[name] = config[name].take();
            }
            *config = own;
        }
        Family::GptNeoX => {
            config["layer_norm_eps"] = layer_norm;
            config["use_parallel_residual"] = json!(c.parallel_residual);
            config["rotary_pct"] = json!(partial(c));
            config["attention_bias"] = json!(true);
        }
        Family::StableLm => {
            config["layer_norm_eps"] = layer_norm;
            config["use_parallel_residual"] = json!(c.parallel_residual);
            config["partial_rotary_factor"] = json!(partial(c));
            config["use_qkv_bias"] = json!(!c.biases.is_empty());
        }
        Family::Gemma | Family::Gemma2 | Family::Gemma3 => {
            config["hidden_activation"] = json!(activation(c));
            if family != Family::Gemma {
                // A whole number in the models there are.
                let scale = f64::from(c.attention_scale());
                let width = 1.0 / (scale * scale);
                let whole = width.round();
                config["query_pre_attn_scalar"] = match (1.0 / whole).sqrt() as f32 == scale as f32
                {
                    true => json!(whole as u64),
                    false => json!(width),
                };
                config["attn_logit_softcapping"] = json!(c.attention_softcap);
                config["final_logit_softcapping"] = json!(c.logit_softcap);
            }
        }
        Family::Granite => {
            config["embedding_multiplier"] = json!(c.embedding_multiplier.unwrap_or(1.0));
            config["residual_multiplier"] = json!(c.residual_scale());
            config["attention_multiplier"] = json!(c.attention_scale());
            // A part of the final norm.
            config["logits_scaling"] = json!(1.0);
        }
        Family::SmolLm3 => {
            let rotated = (0..c.num_layers).map(|layer| u8::from(c.rotates(layer)));
            config["no_rope_layers"] = rotated.collect();
        }
        Family::Phi3 => {
            if c.rotary_dim.is_some() {
                config["partial_rotary_factor"] = json!(partial(c));
            }
            if let Some(RopeScaling::LongRope {
                original_max_position_embeddings: original,
                ..
            }) = c.rope_scaling
            {
                config["original_max_position_embeddings"] = json!(original);
            }
        }
        _ => {}
    }
    if matches!(family, Family::Gpt2 | Family::GptNeoX | Family::StableLm) {
        return;
    }
    config["sliding_window"] = json!(c.sliding_window);
    let by_layer = matches!(
        family,
        Family::Qwen2 | Family::Qwen3 | Family::SmolLm3 | Family::Gemma2 | Family::Gemma3
    );
    if by_layer {
        let kind = |layer| match c.window(layer) {
            Some(_) => "sliding_attention",
            None => "full_attention",
        };
        config["layer_types"] = (0..c.num_layers).map(kind).collect();
        if !matches!(family, Family::Gemma2 | Family::Gemma3) {
            config["use_sliding_window"] = json!(c.sliding_window.is_some());
            config["max_window_layers"] = json!(0);
        }
    }
    if family == Family::Gemma3
        && let Some(fields) = config.as_object_mut()
    {
        let all = fields["rope_parameters"].clone();
        let local = match c.local_rope_theta {
            Some(theta) => json!({"rope_type": "default", "rope_theta": theta}),
            None => all.clone(),
        };
        fields.insert(
            "rope_parameters".into(),
            json!({"full_attention": all, "sliding_attention": local}),
        );
        fields.remove("rope_theta");
        fields.remove("rope_scaling");
        // What is null is a default of 4096 there.
        if c.sliding_window.is_none() {
            fields.insert("sliding_window".into(), json!(c.max_seq_len));
        }
    }
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

/// Sampling, tokenizer and chat template.
fn companions(meta: &Metadata) -> Result<Vec<(String, String)>, ExportError> {
    let mut files = Vec::new();
    if let Some(hints) = &meta.sampling {
        let mut generation = json!({ "do_sample": hints.temperature != Some(0.0) });
        for (key, value) in [
            ("temperature", hints.temperature.filter(|t| *t > 0.0)),
            ("top_p", hints.top_p),
            ("repetition_penalty", hints.repetition_penalty),
        ] {
            if let Some(value) = value {
                generation[key] = json!(value);
            }
        }
        if let Some(top_k) = hints.top_k {
            generation["top_k"] = json!(top_k);
        }
        files.push((
            "generation_config.json".to_owned(),
            format!("{generation:#}\n"),
        ));
    }
    let Some(tokenizer) = &meta.tokenizer else {
        return Ok(files);
    };
    let special = meta.special_tokens.clone().unwrap_or_default();
    let mut settings = json!({"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": meta.config.max_seq_len});
    for (key, text) in [("bos_token", special.bos), ("eos_token", special.eos)] {
        if let Some(text) = text {
            settings[key] = json!(text);
        }
    }
    files.push(("tokenizer.json".to_owned(), tokenizer.clone()));
    if let Some(template) = &meta.chat_template {
        settings["chat_template"] = json!(template);
    }
    files.push((
        "tokenizer_config.json".to_owned(),
        format!("{settings:#}\n"),
    ));
    Ok(files)
}
