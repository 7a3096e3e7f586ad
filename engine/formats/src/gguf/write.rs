//! Writing GGUF, version 3, as llama.cpp loads it.

use super::{blocks, names, write_vocab};
use super::{config as gguf_config, rope};
use crate::export::family::{Target, family, has_temperature};
use crate::export::model::{ExportError, Model, Stream, Weights, dense, matrix};
use crate::hf::config::Family;
use crate::onebit::OneBit;
use crate::source::storage::Storage;
use ternary_common::bytes::{ByteSink, ByteSource};
use ternary_core::config::{Activation, MatrixKind, ModelConfig, NormKind, QuantMode, RopeScaling};
use ternary_core::params::{self, Matrix, Param, norms};

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
    /// What llama.cpp computes otherwise.
    pub notes: Vec<String>,
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
    /// One, or several whose rows are behind each other; none for `values`.
    params: Vec<Param>,
    /// Divisors of RoPE's frequencies.
    values: Vec<f32>,
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
    let config = &file.metadata.config;
    let family = family(Target::Gguf, config)?;
    let architecture = architecture(family, config)?;
    check_rope(architecture, config)?;
    let scale = match family {
        // Files of these do not tell the factor of attention's scores.
        Family::Gemma2 | Family::Gemma3 => {
            config.attention_scale() / gguf_config::gemma_scale(config)
        }
        _ => 1.0,
    };
    let model = Model {
        file,
        source,
        family,
        query_factor: scale,
        norms_from_one: false,
    };
    if family == Family::StableLm && config.parallel_residual {
        model.check_shared_norms().await?;
    }
    let mut others = Vec::new();
    let (tensors, data_len) = plan(config, family, options, &mut others)?;
    let mut values = Values::default();
    describe(&mut values, file, family, architecture, options)?;

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
        let mut bytes: Vec<u8> = t.values.iter().flat_map(|v| v.to_le_bytes()).collect();
        for p in &t.params {
            match matrix(p) {
                None => {
                    let mut values = model.floats(p).await?;
                    if paired(family) && is_rotated(&p.name) {
                        in_pairs(&mut values, 1, config);
                    }
                    bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
                }
                Some(m) => {
                    let mut weights = model.weights(p, m).await?;
                    if paired(family) && is_rotated(&p.name) {
                        rows_in_pairs(&mut weights, m, config);
                    }
                    bytes.extend(encode(weights, t.storage, &t.name)?);
                }
            }
        }
        bytes.resize((bytes.len() as u64).next_multiple_of(ALIGN) as usize, 0);
        out.push(&bytes).await?;
        progress(out.at, total);
        ternary_common::platform::yield_now().await;
    }
    Ok(GgufReport {
        bytes: out.at,
        architecture,
        others,
        notes: notes(family, config),
    })
}

/// Whether q and k have the two rows of a RoPE pair beside each other.
fn paired(family: Family) -> bool {
    matches!(
        family,
        Family::Llama | Family::Granite | Family::MiniCpm | Family::SmolLm3
    )
}

fn is_rotated(name: &str) -> bool {
    let modules = [MatrixKind::Q.module(), MatrixKind::K.module()];
    modules.iter().any(|module| name.contains(module))
}

fn notes(family: Family, c: &ModelConfig) -> Vec<String> {
    let window = c
        .sliding_window
        .filter(|_| matches!(family, Family::Llama | Family::Phi3));
    window
        .map(|n| {
            format!(
                "llama.cpp knows no window in such a model: texts of more than {n} tokens are continued otherwise there"
            )
        })
        .into_iter()
        .collect()
}

fn architecture(family: Family, c: &ModelConfig) -> Result<&'static str, ExportError> {
    let gguf = Target::Gguf;
    let untied = !c.tie_word_embeddings;
    Ok(match family {
        Family::Llama | Family::Mistral => "llama",
        Family::Qwen2 => "qwen2",
        Family::Qwen3 => "qwen3",
        // llama.cpp's `bitnet` has SiLU and a tied head; bitnet.cpp knows relu² under another name.
        Family::BitNet if c.activation() == Activation::Relu2 => "bitnet-b1.58",
        Family::BitNet if untied => {
            return gguf.refuse(
                "tie_word_embeddings",
                "false in a model with sub-norms",
                "true",
            );
        }
        Family::BitNet => "bitnet",
        Family::Gemma | Family::Gemma2 if untied => {
            return gguf.refuse("tie_word_embeddings", "false in such a decoder", "true");
        }
        Family::Gemma => "gemma",
        Family::Gemma2 | Family::Gemma3 => {
            let theta = c.local_rope_theta.is_none() && c.sliding_window.is_some();
            if family == Family::Gemma3 && theta {
                return gguf.refuse("local_rope_theta", "unset", "set, with a window");
            }
            if windows_period(c).is_none() && c.sliding_window.is_some() {
                let found = format!("{:?}", c.windowed_layers.as_deref().unwrap_or_default());
                return gguf.refuse("windowed_layers", &found, "all but every n-th layer");
            }
            if family == Family::Gemma2 {
                "gemma2"
            } else {
                "gemma3"
            }
        }
        Family::Phi3 => "phi3",
        Family::Olmo2 => "olmo2",
        Family::Granite => "granite",
        Family::MiniCpm => "minicpm",
        Family::SmolLm3 => {
            if c.layers_without_rope != gguf_config::without_rope(c.num_layers) {
                let found = format!("{:?}", c.layers_without_rope);
                return gguf.refuse("layers_without_rope", &found, "every fourth layer");
            }
            "smollm3"
        }
        Family::StableLm => "stablelm",
        Family::Gpt2 => "gpt2",
        Family::GptNeoX => "gptneox",
    })
}

/// n where all layers but every n-th have a window.
fn windows_period(c: &ModelConfig) -> Option<usize> {
    let layers = c.num_layers;
    let all: Vec<usize> = (0..layers).collect();
    let windowed = c.windowed_layers.as_ref().unwrap_or(&all);
    // No window in the last layers may mean several; the usual ones first.
    let mut periods = [2, 6].into_iter().chain(1..=layers + 1);
    periods.find(|n| gguf_config::windowed(layers, *n) == *windowed)
}

/// What llama.cpp has for RoPE in such models.
fn check_rope(architecture: &str, c: &ModelConfig) -> Result<(), ExportError> {
    let llama = ["llama", "granite", "minicpm"].contains(&architecture);
    let found = match &c.rope_scaling {
        Some(RopeScaling::LongRope { .. }) if !llama && architecture != "phi3" => "longrope",
        Some(RopeScaling::Yarn {
            truncate: false, ..
        }) if !llama => "yarn without truncate",
        _ => return Ok(()),
    };
    Target::Gguf.refuse(
        "rope_scaling",
        found,
        "unset, linear, or yarn in such a decoder",
    )
}

fn plan(
    config: &ModelConfig,
    family: Family,
    options: GgufOptions,
    others: &mut Vec<(String, String)>,
) -> Result<(Vec<Planned>, u64), ExportError> {
    let wanted = if options.base3 {
        Storage::Tq1_0
    } else {
        Storage::Tq2_0
    };
    let shared = family == Family::StableLm && config.parallel_residual;
    let tensors = params::all(config)
        .into_iter()
        .filter(|p| !(shared && p.name.contains(norms::MLP_INPUT)))
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
                params: vec![p],
                values: Vec::new(),
            }
        });
    let mut tensors = fused(tensors.collect(), family);
    for (name, values) in divisors(config) {
        tensors.push(Planned {
            params: Vec::new(),
            name: name.into(),
            shape: vec![values.len()],
            values,
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

/// Matrices that a decoder's files have in one.
fn fused(tensors: Vec<Planned>, family: Family) -> Vec<Planned> {
    let qkv = matches!(family, Family::Gpt2 | Family::GptNeoX | Family::Phi3);
    let whole = |name: &str| -> Option<String> {
        let (layer, part) = name.strip_prefix("blk.")?.split_once('.')?;
        let (part, end) = part.split_once('.')?;
        let one = match part {
            "attn_q" | "attn_k" | "attn_v" if qkv => names::QKV,
            "ffn_gate" | "ffn_up" if family == Family::Phi3 => "ffn_up",
            _ => return None,
        };
        Some(format!("blk.{layer}.{one}.{end}"))
    };
    let mut all: Vec<Planned> = Vec::new();
    for mut t in tensors {
        let Some(name) = whole(&t.name) else {
            all.push(t);
            continue;
        };
        match all.iter_mut().find(|other| other.name == name) {
            None => {
                t.name = name;
                all.push(t);
            }
            Some(one) => {
                one.shape[0] += t.shape[0];
                // Of several types, floats.
                if one.storage != t.storage {
                    one.storage = match [one.storage, t.storage].contains(&Storage::F32) {
                        true => Storage::F32,
                        false => Storage::F16,
                    };
                }
                one.params.extend(t.params);
            }
        }
    }
    all
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
    let widened = |bytes: &[u8]| {
        let halves = bytes.as_chunks::<2>().0.iter();
        let floats = halves.map(|b| half::f16::from_le_bytes(*b).to_f32());
        floats.flat_map(f32::to_le_bytes).collect()
    };
    match (weights, storage) {
        (Weights::F16(bytes), Storage::F32) => Ok(widened(&bytes)),
        (Weights::F32(bytes) | Weights::F16(bytes), _) => Ok(bytes),
        (Weights::Codes { q, span }, Storage::F16) => Ok(dense(&q, span)),
        (Weights::Codes { q, span }, Storage::F32) => Ok(widened(&dense(&q, span))),
        (Weights::Codes { q, span }, _) => blocks::encode(storage, &q, span, name),
    }
}

/// Rows of `width` values of whole heads, of which RoPE rotates the first: those from halves
/// (p · rotary_dim/2 + j) to pairs (2j + p).
fn in_pairs<T: Copy>(values: &mut [T], width: usize, c: &ModelConfig) {
    let rotary = c.rotary_dim();
    for head in values.chunks_exact_mut(c.head_dim() * width) {
        let halves = head.to_vec();
        for (row, to) in head.chunks_exact_mut(width).take(rotary).enumerate() {
            let from = row % 2 * (rotary / 2) + row / 2;
            to.copy_from_slice(&halves[from * width..][..width]);
        }
    }
}

fn rows_in_pairs(weights: &mut Weights, m: &Matrix, c: &ModelConfig) {
    match weights {
        Weights::F32(bytes) => in_pairs(bytes, 4 * m.cols, c),
        Weights::F16(bytes) => in_pairs(bytes, 2 * m.cols, c),
        Weights::Codes { q, .. } => {
            in_pairs(&mut q.codes, m.cols, c);
            if q.scales.len() >= m.rows {
                let width = q.scales.len() / m.rows;
                in_pairs(&mut q.scales, width, c);
            }
        }
    }
}

/// Tensors of what frequencies are divided by, where metadata does not say it.
fn divisors(c: &ModelConfig) -> Vec<(&'static str, Vec<f32>)> {
    match &c.rope_scaling {
        None | Some(RopeScaling::Linear { .. } | RopeScaling::Yarn { truncate: true, .. }) => {
            Vec::new()
        }
        Some(RopeScaling::LongRope {
            short_factors,
            long_factors,
            ..
        }) => vec![
            (rope::LONG, long_factors.clone()),
            (rope::SHORT, short_factors.clone()),
        ],
        Some(_) => vec![(rope::FREQS, rope_divisors(c))],
    }
}

/// What each frequency is divided by.
fn rope_divisors(c: &ModelConfig) -> Vec<f32> {
    let plain = ModelConfig {
        rope_scaling: None,
        ..c.clone()
    };
    (0..c.rotary_dim() / 2)
        .map(|j| (plain.rope_frequency(j) / c.rope_frequency(j)) as f32)
        .collect()
}

fn describe(
    v: &mut Values,
    file: &OneBit,
    family: Family,
    architecture: &str,
    options: GgufOptions,
) -> Result<(), ExportError> {
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
    let hints = meta.sampling.unwrap_or_default();
    for (key, value) in [
        ("temp", hints.temperature),
        ("top_p", hints.top_p),
        ("penalty_repeat", hints.repetition_penalty),
    ] {
        if let Some(value) = value {
            v.float(&format!("general.sampling.{key}"), value);
        }
    }
    if let Some(top_k) = hints.top_k {
        v.number("general.sampling.top_k", top_k as usize);
    }
    // Of the blocks that are written.
    v.number("general.quantization_version", 2);
    v.number("general.file_type", file_type(c, options));
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
    ] {
        v.number(&key(name), value);
    }
    if c.use_rope {
        v.number(&key("rope.dimension_count"), c.rotary_dim());
    }
    let epsilon = match c.norm {
        NormKind::Rms => "attention.layer_norm_rms_epsilon",
        NormKind::Layer => "attention.layer_norm_epsilon",
    };
    v.float(&key(epsilon), c.rms_norm_eps);
    if c.use_rope {
        v.float(&key("rope.freq_base"), c.rope_theta);
    }
    if let Some(RopeScaling::Linear { factor }) = c.rope_scaling {
        v.text(&key("rope.scaling.type"), "linear");
        v.float(&key("rope.scaling.factor"), factor);
    }
    if has_temperature(c) {
        scaling(v, c, architecture);
    }
    switches(v, c, family, architecture);
    write_vocab::describe(v, meta)
}

/// llama.cpp's number of what most matrices are stored as, which programs show.
fn file_type(c: &ModelConfig, options: GgufOptions) -> usize {
    let modes = params::matrices(c).map(|m| m.mode);
    let body: Vec<QuantMode> = modes.skip(1).collect();
    let most = |mode: QuantMode| 2 * body.iter().filter(|m| **m == mode).count() > body.len();
    match () {
        () if most(QuantMode::Ternary) && options.base3 => 36,
        () if most(QuantMode::Ternary) => 37,
        () if most(QuantMode::EightBit) => 7,
        () if most(QuantMode::F32) => 0,
        () => 1,
    }
}

/// YaRN and LongRoPE.
fn scaling(v: &mut Values, c: &ModelConfig, architecture: &str) {
    let key = |name: &str| format!("{architecture}.rope.scaling.{name}");
    match &c.rope_scaling {
        Some(RopeScaling::Yarn {
            factor,
            original_max_position_embeddings,
            beta_fast,
            beta_slow,
            attention_factor,
            truncate: true,
        }) => {
            v.text(&key("type"), "yarn");
            v.float(&key("factor"), *factor);
            let original = *original_max_position_embeddings as usize;
            v.number(&key("original_context_length"), original);
            for (name, value, usual) in [
                ("yarn_beta_fast", beta_fast, 32.0),
                ("yarn_beta_slow", beta_slow, 1.0),
            ] {
                if *value != usual {
                    v.float(&key(name), *value);
                }
            }
            // The temperature of the paper (§3.4) is there without being said.
            let temperature = match *factor > 1.0 {
                true => 0.1 * libm::log(f64::from(*factor)) + 1.0,
                false => 1.0,
            };
            let more = (f64::from(*attention_factor) / temperature) as f32;
            if temperature as f32 != *attention_factor {
                v.float(&key("attn_factor"), more);
            }
        }
        Some(RopeScaling::LongRope {
            original_max_position_embeddings,
            attention_factor,
            ..
        }) => {
            v.text(&key("type"), "longrope");
            let original = *original_max_position_embeddings as usize;
            v.number(&key("original_context_length"), original);
            v.float(&key("attn_factor"), *attention_factor);
        }
        _ => {
            let temperature = c.rope_attention_factor() as f32;
            v.float(&key("attn_factor"), temperature);
        }
    }
}

/// What only some decoders have.
fn switches(v: &mut Values, c: &ModelConfig, family: Family, architecture: &str) {
    let key = |name: &str| format!("{architecture}.{name}");
    match family {
        Family::Granite => {
            v.float(&key("attention.scale"), c.attention_scale());
            v.float(&key("logit_scale"), 1.0);
        }
        Family::MiniCpm => v.float(&key("logit_scale"), 1.0),
        Family::StableLm | Family::GptNeoX => {
            v.flag(&key("use_parallel_residual"), c.parallel_residual);
        }
        Family::Gemma2 => {
            // 0 switches them off.
            v.float(
                &key("attn_logit_softcapping"),
                c.attention_softcap.unwrap_or(0.0),
            );
            v.float(
                &key("final_logit_softcapping"),
                c.logit_softcap.unwrap_or(0.0),
            );
        }
        Family::Gemma3 => {
            if let Some(cap) = c.logit_softcap {
                v.float(&key("final_logit_softcapping"), cap);
            }
            if let Some(theta) = c.local_rope_theta.filter(|theta| *theta != 10_000.0) {
                v.float(&key("rope.freq_base_swa"), theta);
            }
        }
        _ => {}
    }
    if matches!(family, Family::Granite | Family::MiniCpm) {
        v.float(
            &key("embedding_scale"),
            c.embedding_multiplier.unwrap_or(1.0),
        );
        v.float(&key("residual_scale"), c.residual_scale());
    }
    let window = match family {
        // Without the key there is one.
        Family::Gemma2 => Some(c.sliding_window.unwrap_or(c.max_seq_len)),
        _ => c.sliding_window,
    };
    if let Some(window) = window {
        v.number(&key("attention.sliding_window"), window);
    }
    let period = windows_period(c).filter(|_| c.sliding_window.is_some());
    if let Some(period) = period
        && matches!(family, Family::Gemma2 | Family::Gemma3)
        && period != gguf_config::window_period(family)
    {
        v.number(&key("attention.sliding_window_pattern"), period);
    }
}
