//! `config.json` of Hugging Face's decoders: shape, RoPE, quantization.

mod family;
mod keys;
mod rope;

pub(crate) use family::{Family, Found, decoder};

use serde_json::Value;

use crate::source::ImportError;
use crate::source::checkpoint::Scaling;

pub(crate) const CONFIG: &str = "config.json";

/// What `quantization_config` says.
pub(crate) enum Method {
    None,
    /// Packed matrices with a scale beside each.
    Packed(Scaling),
    /// Float masters, quantized in the forward pass, but for modules with one of these in their
    /// name.
    Online {
        kept: Vec<String>,
    },
}

pub(crate) fn unsupported(
    what: &str,
    found: impl std::fmt::Display,
    supported: &str,
) -> ImportError {
    ImportError::Unsupported {
        what: what.into(),
        found: found.to_string(),
        supported: supported.into(),
    }
}

/// The fields of `config.json`.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a>(pub &'a Value);

impl Fields<'_> {
    /// A field that is there and not null.
    fn given(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|v| !v.is_null())
    }

    fn refuse<T>(&self, name: &str, supported: &str) -> Result<T, ImportError> {
        Err(unsupported(
            &format!("{CONFIG}: {name}"),
            &self.0[name],
            supported,
        ))
    }

    fn size(&self, name: &str, default: Option<usize>) -> Result<usize, ImportError> {
        match (self.given(name).map(Value::as_u64), default) {
            (Some(Some(n)), _) => Ok(n as usize),
            (None, Some(default)) => Ok(default),
            (None, None) => Err(unsupported(
                &format!("{CONFIG}: {name}"),
                "missing",
                "a number",
            )),
            (Some(None), _) => self.refuse(name, "a whole number"),
        }
    }

    fn number(&self, name: &str) -> Result<Option<f64>, ImportError> {
        match self.given(name) {
            None => Ok(None),
            Some(v) => match v.as_f64() {
                Some(number) => Ok(Some(number)),
                None => self.refuse(name, "a number"),
            },
        }
    }

    fn flag(&self, name: &str) -> Option<bool> {
        self.0.get(name).and_then(Value::as_bool)
    }

    fn word(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    pub fn quantization(&self) -> Result<Method, ImportError> {
        let Some(q) = self.0.get("quantization_config").filter(|v| v.is_object()) else {
            return Ok(Method::None);
        };
        let word = |name: &str, default: &'static str| {
            q.get(name)
                .and_then(Value::as_str)
                .unwrap_or(default)
                .to_owned()
        };
        let refuse = |name: &str, supported: &str| {
            Err(unsupported(
                &format!("quantization_config.{name}"),
                &q[name],
                supported,
            ))
        };
        if word("quant_method", "") != "bitnet" {
            return refuse("quant_method", "bitnet");
        }
        if q.get("use_rms_norm").and_then(Value::as_bool) == Some(true) {
            return refuse("use_rms_norm", "false");
        }
        match (
            word("linear_class", "bitlinear").as_str(),
            word("quantization_mode", "offline").as_str(),
        ) {
            ("bitlinear", "offline") => Ok(Method::Packed(Scaling::Divide)),
            ("autobitlinear", "offline") => Ok(Method::Packed(Scaling::Multiply)),
            ("autobitlinear", "online") => {
                let kept = q.get("modules_to_not_convert").and_then(Value::as_array);
                let names = kept.into_iter().flatten().filter_map(Value::as_str);
                Ok(Method::Online {
                    kept: names.map(str::to_owned).collect(),
                })
            }
            ("bitlinear" | "autobitlinear", _) => {
                refuse("quantization_mode", "offline; online with autobitlinear")
            }
            _ => refuse("linear_class", "bitlinear, autobitlinear"),
        }
    }
}
