//! RoPE in all the ways that versions of transformers write it: `rope_scaling` beside `rope_theta`,
//! `rope_parameters` with both, or `rope_parameters` by kind of layer.

use serde_json::Value;

use super::{CONFIG, Fields, unsupported};
use crate::source::ImportError;
use ternary_core::config::RopeScaling;

const KINDS: &str = "default, linear, dynamic, yarn, longrope, llama3";
/// The kind of layer whose RoPE may differ from that of all others.
const SLIDING: &str = "sliding_attention";

/// What a config says of RoPE.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rope {
    pub theta: Option<f32>,
    pub scaling: Option<RopeScaling>,
    /// Share of a head that is rotated.
    pub partial: Option<f64>,
}

/// RoPE of all layers, and of those with a sliding window where it is another.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ropes {
    pub all: Rope,
    pub sliding: Option<Rope>,
}

impl Fields<'_> {
    pub(super) fn ropes(&self, context: usize) -> Result<Ropes, ImportError> {
        let mut found: Option<(String, Rope)> = None;
        let mut sliding: Option<Rope> = None;
        for name in ["rope_parameters", "rope_scaling"] {
            let value = &self.0[name];
            let Some(fields) = value.as_object().filter(|fields| !fields.is_empty()) else {
                continue;
            };
            // By kind of layer: objects, or null for a kind that has none of its own.
            let nested = fields.values().any(Value::is_object);
            if nested
                && let Some((key, odd)) =
                    fields.iter().find(|(_, v)| !v.is_object() && !v.is_null())
            {
                return Err(unsupported(
                    &format!("{CONFIG}: {name}.{key}"),
                    odd,
                    "an object for each kind of layer, and nothing else",
                ));
            }
            let parts: Vec<(String, &Value)> = if nested {
                self.layer_kinds(name, value)?
            } else {
                vec![(name.to_owned(), value)]
            };
            let several = parts.len() > 1;
            for (name, part) in parts {
                let rope = self.rope_of(&name, part, context)?;
                if several && name.ends_with(SLIDING) {
                    sliding = Some(rope);
                    continue;
                }
                let Some((other, before)) = &mut found else {
                    found = Some((name, rope));
                    continue;
                };
                let differs = |name: &str| {
                    unsupported(
                        &format!("{CONFIG}: {name}"),
                        format!("another than {other}"),
                        "one RoPE for all layers, or for those with a sliding window another",
                    )
                };
                if nested {
                    if rope != *before {
                        return Err(differs(&name));
                    }
                    continue;
                }
                // The older name beside the newer: each may say what the other leaves out.
                if rope.scaling.is_some()
                    && before.scaling.is_some()
                    && rope.scaling != before.scaling
                {
                    return Err(differs(&name));
                }
                before.scaling = before.scaling.take().or(rope.scaling);
                before.theta = before.theta.or(rope.theta);
                before.partial = before.partial.or(rope.partial);
            }
        }
        let mut all = found.map(|(_, rope)| rope).unwrap_or_default();
        let older = self
            .number("rope_theta")?
            .or(self.number("rotary_emb_base")?);
        all.theta = all.theta.or(older.map(|theta| theta as f32));
        let older = self
            .number("partial_rotary_factor")?
            .or(self.number("rotary_pct")?)
            .or(self.number("rope_pct")?);
        all.partial = all.partial.or(older);
        let sliding = sliding.filter(|rope| *rope != all);
        Ok(Ropes { all, sliding })
    }

    /// The entries of `value` for the kinds of layers that the model has.
    fn layer_kinds<'v>(
        &self,
        name: &str,
        value: &'v Value,
    ) -> Result<Vec<(String, &'v Value)>, ImportError> {
        let full = |kind: &str| format!("{name}.{kind}");
        let all = value.as_object().into_iter().flatten();
        let Some(used) = self.0["layer_types"].as_array() else {
            let given = all.filter(|(_, v)| !v.is_null());
            return Ok(given.map(|(kind, v)| (full(kind), v)).collect());
        };
        let mut used: Vec<&str> = used.iter().filter_map(Value::as_str).collect();
        used.sort_unstable();
        used.dedup();
        used.into_iter()
            .map(|kind| match value.get(kind).filter(|v| !v.is_null()) {
                Some(v) => Ok((full(kind), v)),
                None => Err(unsupported(
                    &format!("{CONFIG}: {}", full(kind)),
                    "missing, and some layers are of that kind",
                    "an entry for every kind in layer_types",
                )),
            })
            .collect()
    }

    /// One object of RoPE's parameters.
    fn rope_of(&self, name: &str, value: &Value, context: usize) -> Result<Rope, ImportError> {
        let what = |field: &str| format!("{CONFIG}: {name}.{field}");
        let field = |field: &str| value.get(field).filter(|v| !v.is_null());
        let optional = |name: &str| match field(name) {
            None => Ok(None),
            Some(v) => match v.as_f64() {
                Some(number) => Ok(Some(number)),
                None => Err(unsupported(&what(name), v, "a number")),
            },
        };
        let number = |name: &str| match optional(name)? {
            Some(number) => Ok(number),
            None => Err(unsupported(&what(name), "missing", "a number")),
        };
        // May stand beside, or be the model's own context.
        let original = || -> Result<u32, ImportError> {
            let name = "original_max_position_embeddings";
            let beside = self.given(name).and_then(Value::as_f64);
            Ok(optional(name)?.or(beside).unwrap_or(context as f64) as u32)
        };
        let kind = field("rope_type")
            .or(field("type"))
            .filter(|kind| *kind != "none");
        let scaling = match kind.map_or(Some("default"), Value::as_str) {
            Some("default")
                if kind.is_none() && field("factor").is_some_and(|f| f.as_f64() != Some(1.0)) =>
            {
                return Err(unsupported(
                    &what("rope_type"),
                    "missing beside a factor",
                    KINDS,
                ));
            }
            // Dynamic scaling begins behind the model's context, which no text here exceeds.
            Some("default" | "dynamic") => None,
            Some("linear") => Some(RopeScaling::Linear {
                factor: number("factor")? as f32,
            }),
            Some("llama3") => Some(RopeScaling::Llama3 {
                factor: number("factor")? as f32,
                low_freq_factor: number("low_freq_factor")? as f32,
                high_freq_factor: number("high_freq_factor")? as f32,
                original_max_position_embeddings: original()?,
            }),
            Some("yarn") => {
                let original = original()?;
                let ratio = context as f64 / f64::from(original);
                let factor = optional("factor")?.unwrap_or(ratio);
                // The temperature of the paper (§3.4), or the quotient of two as DeepSeek has it.
                let temperature = |m: f64| match factor > 1.0 {
                    true => 0.1 * m * libm::log(factor) + 1.0,
                    false => 1.0,
                };
                let scale = |name| Ok::<_, ImportError>(optional(name)?.filter(|m| *m != 0.0));
                let attention = match (scale("mscale")?, scale("mscale_all_dim")?) {
                    (Some(m), Some(all)) => temperature(m) / temperature(all),
                    _ => temperature(1.0),
                };
                let beta =
                    |name, default: f64| Ok::<_, ImportError>(scale(name)?.unwrap_or(default));
                Some(RopeScaling::Yarn {
                    factor: factor as f32,
                    original_max_position_embeddings: original,
                    beta_fast: beta("beta_fast", 32.0)? as f32,
                    beta_slow: beta("beta_slow", 1.0)? as f32,
                    attention_factor: optional("attention_factor")?.unwrap_or(attention) as f32,
                    truncate: field("truncate").and_then(Value::as_bool).unwrap_or(true),
                })
            }
            Some("longrope" | "su") => {
                let factors = |name: &str| -> Result<Vec<f32>, ImportError> {
                    let list = field(name).and_then(Value::as_array);
                    let numbers = list.map(|all| all.iter().map(Value::as_f64).collect());
                    match numbers {
                        Some(Some(factors)) => {
                            let factors: Vec<f64> = factors;
                            Ok(factors.into_iter().map(|f| f as f32).collect())
                        }
                        _ => Err(unsupported(
                            &what(name),
                            field(name).map_or("missing".into(), Value::to_string),
                            "a list of numbers",
                        )),
                    }
                };
                for name in ["long_mscale", "short_mscale"] {
                    if let Some(found) = field(name) {
                        return Err(unsupported(&what(name), found, "attention_factor"));
                    }
                }
                let original = original()?;
                let ratio = context as f64 / f64::from(original);
                let factor = optional("factor")?.unwrap_or(ratio);
                let attention = match factor > 1.0 {
                    true => libm::sqrt(1.0 + libm::log(factor) / libm::log(f64::from(original))),
                    false => 1.0,
                };
                Some(RopeScaling::LongRope {
                    short_factors: factors("short_factor")?,
                    long_factors: factors("long_factor")?,
                    original_max_position_embeddings: original,
                    attention_factor: optional("attention_factor")?.unwrap_or(attention) as f32,
                })
            }
            _ => {
                return Err(unsupported(
                    &what("rope_type"),
                    kind.unwrap_or(&Value::Null),
                    KINDS,
                ));
            }
        };
        Ok(Rope {
            theta: optional("rope_theta")?.map(|theta| theta as f32),
            scaling,
            partial: optional("partial_rotary_factor")?,
        })
    }
}
