//! Trained low-rank adapters (LoRA, Hu et al. 2021) in PEFT's layout, the base they belong to, and
//! merging into it.
//!
//! | file | |
//! |---|---|
//! | `adapter_config.json` | rank, alpha, target modules, the base's name and [`Checksum`] |
//! | `adapter_model.safetensors` | f32 `base_model.model.MODULE.lora_A.weight` `[r, in]`, `…lora_B.weight` `[out, r]` |
//!
//! Where a download can be one file only, `adapter_config.json` is a text of that name in the
//! safetensors' metadata.

mod combine;

use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

use crate::safetensors as tensors;
use ternary_core::config::{ConfigError, LoraConfig, MatrixKind, ModelConfig, QuantMode};
use ternary_core::kind::{FileKind, KIND_BYTES, escaped, without_bom};
use ternary_core::params::{self, ParamKind};
use ternary_core::quant::quantize;
use ternary_model::Parameters;

/// What is wrong with an adapter.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    #[error("{0}")]
    Invalid(String),
    #[error(transparent)]
    Config(#[from] ConfigError),
}

type Result<T, E = AdapterError> = std::result::Result<T, E>;

pub const CONFIG_FILE: &str = "adapter_config.json";
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";

/// What PEFT puts before every name.
const PREFIX: &str = "base_model.model.";

/// The model an adapter was trained beside.
#[derive(Clone, Debug, PartialEq)]
pub struct Base {
    /// For people: a path or a name.
    pub name: String,
    /// Adapters made elsewhere have none.
    pub checksum: Option<Checksum>,
}

/// What tells one base from another: the same for a checkpoint and for its `.1bit`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Checksum {
    /// CRC-32 of names, codes, F16 bits and norms.
    pub codes: u32,
    /// CRC-32 of what the config says about computing; older adapters have none.
    pub config: Option<u32>,
    /// Mean of the scales, each weighted by its place in its matrix, so that an exchange of two is
    /// noticed; older adapters have none.
    pub scales: Option<f64>,
}

/// Latents made from a `.1bit` give its scales to one unit in the last place.
const SCALE_TOLERANCE: f64 = 1e-6;

impl Checksum {
    /// What differs, as far as both know.
    fn difference(&self, other: &Checksum) -> Option<String> {
        if self.codes != other.codes {
            let (a, b) = (self.codes, other.codes);
            return Some(format!("checksum {a:08x}, this one has {b:08x}"));
        }
        if let (Some(a), Some(b)) = (self.config, other.config)
            && a != b
        {
            return Some(format!(
                "the same weights, but a config of checksum {a:08x}; this one's is {b:08x}"
            ));
        }
        let (a, b) = self.scales.zip(other.scales)?;
        let same = (a - b).abs() <= SCALE_TOLERANCE * a.abs();
        (!same).then(|| format!("the same codes, but scales of mean {a:e}; this one's is {b:e}"))
    }
}

/// The matrices A and B of every adapted matrix, by their parameters' names.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter {
    pub lora: LoraConfig,
    pub base: Base,
    pub tensors: Parameters,
}

/// `adapter_config.json`, as far as it decides what is computed.
#[derive(Serialize, Deserialize)]
struct ConfigFile {
    peft_type: String,
    #[serde(default)]
    task_type: Option<String>,
    #[serde(default)]
    base_model_name_or_path: Option<String>,
    r: usize,
    lora_alpha: f64,
    target_modules: Targets,
    #[serde(default)]
    lora_dropout: f64,
    #[serde(default = "no_bias")]
    bias: String,
    #[serde(default)]
    fan_in_fan_out: bool,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    /// Other ranks, other α and whole modules beside the adapters: not supported, and not to be
    /// passed over.
    #[serde(default, skip_serializing)]
    rank_pattern: serde_json::Value,
    #[serde(default, skip_serializing)]
    alpha_pattern: serde_json::Value,
    #[serde(default, skip_serializing)]
    modules_to_save: serde_json::Value,
    /// Ours, like the next two: [`Checksum`], its CRCs in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base_crc32: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base_config_crc32: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base_scales: Option<f64>,
}

/// PEFT writes a list of modules; what was given as a pattern, or as `all-linear`, stays as it was
/// given.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Targets {
    Listed(Vec<String>),
    Pattern(String),
}

fn no_bias() -> String {
    "none".into()
}

/// The module's last part, as PEFT lists it: `q_proj`.
fn module(kind: MatrixKind) -> &'static str {
    kind.module().rsplit('.').next().unwrap_or_default()
}

/// The modules that a pattern stood for: those that have tensors.
fn matched(weights: &[u8]) -> Result<Vec<String>> {
    let (_, header) = SafeTensors::read_metadata(weights).map_err(|e| invalid(WEIGHTS_FILE, e))?;
    let names = header.tensors().into_keys();
    let mut modules: Vec<String> = names
        .filter_map(|name| {
            let (module, _) = name.rsplit_once(".lora_")?;
            Some(module.rsplit('.').next().unwrap_or_default().to_owned())
        })
        .collect();
    modules.sort_unstable();
    modules.dedup();
    Ok(modules)
}

fn invalid(what: &str, message: impl std::fmt::Display) -> AdapterError {
    AdapterError::Invalid(format!("{what}: {message}"))
}

/// CRC-32 of the fields that decide what is computed from the tensors; training's are left out.
fn config_checksum(config: &ModelConfig) -> u32 {
    let modes: Vec<QuantMode> = params::all(config)
        .into_iter()
        .filter_map(|p| match p.kind {
            ParamKind::Matrix(m) => Some(m.mode),
            _ => None,
        })
        .collect();
    let mut computed = vec![serde_json::json!([
        [config.num_heads, config.kv_heads()],
        [
            config.use_swiglu,
            config.use_rope,
            config.use_qk_norm,
            config.use_residual_scaling,
            config.use_sub_norm,
            config.tie_word_embeddings,
        ],
        config.activation(),
        config.rope_theta.to_bits(),
        config.rms_norm_eps.to_bits(),
        config.activation_bits,
        config.weight_scale,
        modes,
    ])];
    // Only where it is set: adapters of other models keep their checksum.
    computed.extend(config.rope_scaling.as_ref().map(|s| serde_json::json!(s)));
    computed.extend(
        config
            .head_dim
            .map(|d| serde_json::json!({ "head_dim": d })),
    );
    let mut newer = config.newer_fields();
    newer.shift_remove("head_dim");
    if !newer.is_empty() {
        computed.push(newer.into());
    }
    let text: String = computed.iter().map(serde_json::Value::to_string).collect();
    crc32fast::hash(text.as_bytes())
}

/// What identifies a model as a base. `parameters` are latents.
pub fn base_checksum(config: &ModelConfig, parameters: &Parameters) -> Checksum {
    let mut hasher = crc32fast::Hasher::new();
    let (mut scales, mut weights) = (0.0, 0.0);
    for p in params::all(config) {
        let Some(values) = parameters.get(&p.name) else {
            continue;
        };
        hasher.update(p.name.as_bytes());
        match &p.kind {
            ParamKind::Matrix(m) if m.mode == QuantMode::F16 => {
                let bits: Vec<u16> = values
                    .iter()
                    .map(|v| half::f16::from_f32(*v).to_bits())
                    .collect();
                hasher.update(bytemuck::cast_slice(&bits));
            }
            ParamKind::Matrix(m) => {
                let q = quantize(values, m.rows, m.cols, &m.quant);
                hasher.update(bytemuck::cast_slice(&q.codes));
                for (i, scale) in q.scales.iter().enumerate() {
                    let weight = (i + 1) as f64;
                    scales += weight * f64::from(*scale);
                    weights += weight;
                }
            }
            _ => hasher.update(bytemuck::cast_slice(values)),
        }
    }
    Checksum {
        codes: hasher.finalize(),
        config: Some(config_checksum(config)),
        scales: Some(scales / f64::max(weights, 1.0)),
    }
}

impl Adapter {
    /// From the contents of the two files.
    ///
    /// # Errors
    /// What is not LoRA, or LoRA of a kind that computes something else (rsLoRA, DoRA, biases), or
    /// of unknown modules.
    pub fn parse(config: &str, weights: &[u8]) -> Result<Self> {
        let config = without_bom(config);
        if let Some(what) = FileKind::of(config.as_bytes()).described() {
            return Err(invalid(CONFIG_FILE, format!("it is {what}")));
        }
        let file: ConfigFile = serde_json::from_str(config).map_err(|e| invalid(CONFIG_FILE, e))?;
        if file.peft_type != "LORA" {
            let found = file.peft_type;
            return Err(invalid(
                CONFIG_FILE,
                format!("peft_type {found}; supported: LORA"),
            ));
        }
        use serde_json::Value;
        let given = |value: &Value| match value {
            Value::Null => false,
            Value::Object(fields) => !fields.is_empty(),
            Value::Array(items) => !items.is_empty(),
            _ => true,
        };
        for (name, set) in [
            ("rank_pattern", given(&file.rank_pattern)),
            ("alpha_pattern", given(&file.alpha_pattern)),
            ("modules_to_save", given(&file.modules_to_save)),
            ("use_rslora", file.use_rslora),
            ("use_dora", file.use_dora),
            ("fan_in_fan_out", file.fan_in_fan_out),
            ("bias", file.bias != "none"),
        ] {
            if set {
                return Err(invalid(
                    CONFIG_FILE,
                    format!("{name} is set; plain LoRA is supported"),
                ));
            }
        }
        let listed = match file.target_modules {
            Targets::Listed(names) => names,
            Targets::Pattern(_) => matched(weights)?,
        };
        let targets = listed
            .iter()
            .map(|name| {
                MatrixKind::ALL
                    .into_iter()
                    .find(|kind| module(*kind) == name)
                    .ok_or_else(|| {
                        let known = MatrixKind::ALL.map(module).join(", ");
                        invalid(
                            CONFIG_FILE,
                            format!("target module `{name}`; supported: {known}"),
                        )
                    })
            })
            .collect::<Result<_>>()?;
        let crc = |name: &str, hex: Option<String>| {
            hex.map(|hex| u32::from_str_radix(&hex, 16))
                .transpose()
                .map_err(|e| invalid(CONFIG_FILE, format!("{name}: {e}")))
        };
        let config = crc("base_config_crc32", file.base_config_crc32)?;
        let codes = crc("base_crc32", file.base_crc32)?;
        if let Some(what) = FileKind::of(&weights[..weights.len().min(KIND_BYTES)])
            .described()
            .filter(|_| SafeTensors::read_metadata(weights).is_err())
        {
            return Err(invalid(WEIGHTS_FILE, format!("it is {what}")));
        }
        let tensors = tensors::parse(weights).map_err(|e| invalid(WEIGHTS_FILE, e))?;
        for (name, (_, values)) in &tensors {
            if let Some(bad) = values.iter().find(|v| !v.is_finite()) {
                let message = format!("tensor {}: a value is {bad}", escaped(name));
                return Err(invalid(WEIGHTS_FILE, message));
            }
        }
        Ok(Adapter {
            lora: LoraConfig {
                rank: file.r,
                alpha: file.lora_alpha,
                targets,
            },
            base: Base {
                name: file.base_model_name_or_path.unwrap_or_default(),
                checksum: codes.map(|codes| Checksum {
                    codes,
                    config,
                    scales: file.base_scales,
                }),
            },
            tensors: tensors
                .into_iter()
                .map(|(name, (_, values))| {
                    (
                        name.strip_prefix(PREFIX).unwrap_or(&name).to_owned(),
                        values,
                    )
                })
                .collect(),
        })
    }

    /// An adapter of one file: the weights, with the config in their metadata.
    ///
    /// # Errors
    /// As [`Adapter::parse`]; weights without a config.
    pub fn parse_file(bytes: &[u8]) -> Result<Self> {
        let (_, header) =
            SafeTensors::read_metadata(bytes).map_err(|e| invalid(WEIGHTS_FILE, e))?;
        let config = header.metadata().as_ref().and_then(|m| m.get(CONFIG_FILE));
        let config = config.ok_or_else(|| {
            invalid(
                WEIGHTS_FILE,
                format!(
                    "its metadata hold no {CONFIG_FILE}; give the folder that holds both files"
                ),
            )
        })?;
        Self::parse(config, bytes)
    }

    /// The bytes of an adapter of one file; `config` is the base's.
    pub fn to_file(&self, config: &ModelConfig) -> Result<Vec<u8>> {
        let trained = params::trained(config, Some(&self.lora)).into_iter();
        let tensors: Vec<_> = trained
            .filter_map(|p| {
                let values = self.tensors.get(&p.name)?.clone();
                Some((Self::file_name(&p.name), p.shape, values))
            })
            .collect();
        let about = [(
            CONFIG_FILE.to_owned(),
            Self::config_json(&self.lora, &self.base)?,
        )];
        tensors::serialize_with(&tensors, Some(about.into())).map_err(AdapterError::Invalid)
    }

    /// Contents of `adapter_config.json`.
    pub fn config_json(lora: &LoraConfig, base: &Base) -> Result<String> {
        let config = base.checksum.and_then(|c| c.config);
        let file = ConfigFile {
            peft_type: "LORA".into(),
            task_type: Some("CAUSAL_LM".into()),
            base_model_name_or_path: Some(base.name.clone()),
            r: lora.rank,
            lora_alpha: lora.alpha,
            target_modules: Targets::Listed(
                lora.targets.iter().map(|k| module(*k).into()).collect(),
            ),
            lora_dropout: 0.0,
            bias: no_bias(),
            fan_in_fan_out: false,
            use_rslora: false,
            use_dora: false,
            rank_pattern: serde_json::Value::Null,
            alpha_pattern: serde_json::Value::Null,
            modules_to_save: serde_json::Value::Null,
            base_crc32: base.checksum.map(|c| format!("{:08x}", c.codes)),
            base_config_crc32: config.map(|c| format!("{c:08x}")),
            base_scales: base.checksum.and_then(|c| c.scales),
        };
        serde_json::to_string_pretty(&file).map_err(|e| invalid(CONFIG_FILE, e))
    }

    /// A tensor's name in `adapter_model.safetensors`.
    pub fn file_name(parameter: &str) -> String {
        format!("{PREFIX}{parameter}")
    }

    /// Refuse a model that this adapter was not trained beside: other sizes, weights or
    /// computations.
    pub fn check(&self, config: &ModelConfig, checksum: Checksum) -> Result<()> {
        if let Some(expected) = self.base.checksum
            && let Some(difference) = expected.difference(&checksum)
        {
            return Err(AdapterError::Invalid(format!(
                "the adapter belongs to another model: it was trained beside {} ({difference}); give that model",
                self.base.name
            )));
        }
        self.lora.validate(config)?;
        for p in params::trained(config, Some(&self.lora)) {
            let name = Self::file_name(&p.name);
            let problem = match self.tensors.get(&p.name).map(Vec::len) {
                Some(found) if found == p.len() => continue,
                Some(found) => format!(
                    "tensor {name} has {found} values, the model asks for shape {:?}",
                    p.shape
                ),
                None => format!("there is no tensor {name}; is the adapter for another model?"),
            };
            return Err(invalid(WEIGHTS_FILE, problem));
        }
        Ok(())
    }
}
