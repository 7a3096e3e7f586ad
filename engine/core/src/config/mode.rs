//! Precision of a matrix, and the map that gives every matrix of a model its precision.

use alloc::{borrow::ToOwned, format, string::String, vec, vec::Vec};

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ConfigError;
use crate::kind::{FileKind, without_bom};

/// How the weights of one matrix are stored and multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum QuantMode {
    /// Single precision, to keep what a checkpoint has to the last digit; activations stay in f32.
    F32,
    /// 16-bit floating point; activations stay in f32.
    F16,
    /// int8 per row, absmax scale.
    EightBit,
    /// −1, 0, +1 in 2 bits, with a scale per tensor, row or group.
    Ternary,
    /// −1, +1 in 1 bit, with a scale per tensor, row or group.
    Binary,
}

impl QuantMode {
    /// From the largest to the smallest.
    pub const ALL: [QuantMode; 5] = [
        QuantMode::F32,
        QuantMode::F16,
        QuantMode::EightBit,
        QuantMode::Ternary,
        QuantMode::Binary,
    ];
    /// What a search and the page choose between: nobody makes a model larger than F16.
    pub const CHOICES: [QuantMode; 4] = [
        QuantMode::F16,
        QuantMode::EightBit,
        QuantMode::Ternary,
        QuantMode::Binary,
    ];

    /// As in configurations and bit-maps.
    pub fn name(self) -> &'static str {
        match self {
            QuantMode::F32 => "f32",
            QuantMode::F16 => "f16",
            QuantMode::EightBit => "eightbit",
            QuantMode::Ternary => "ternary",
            QuantMode::Binary => "binary",
        }
    }

    /// Bits a weight takes in a `.1bit` file, scales not counted.
    pub fn bits(self) -> f64 {
        match self {
            QuantMode::F32 => 32.0,
            QuantMode::F16 => 16.0,
            QuantMode::EightBit => 8.0,
            QuantMode::Ternary => 2.0,
            QuantMode::Binary => 1.0,
        }
    }

    /// Whether the input of such a matrix is quantized to int8 (config `activation_bits`).
    pub fn is_quantized(self) -> bool {
        !matches!(self, QuantMode::F32 | QuantMode::F16)
    }

    /// Whether a mode has latents: straight-through factor, clamp, clip, annealing and Arenas apply
    /// to these only.
    pub fn is_latent(self) -> bool {
        matches!(self, QuantMode::Ternary | QuantMode::Binary)
    }
}

impl core::fmt::Display for QuantMode {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

impl core::str::FromStr for QuantMode {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let lower = text.to_ascii_lowercase();
        QuantMode::ALL
            .into_iter()
            .find(|m| m.name() == lower)
            .ok_or_else(|| ConfigError::UnknownMode(text.to_owned()))
    }
}

impl Serialize for QuantMode {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for QuantMode {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// The seven matrices of a decoder layer. `Gate` exists only with SwiGLU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MatrixKind {
    /// Queries.
    Q,
    /// Keys.
    K,
    /// Values.
    V,
    /// The projection back from the heads.
    O,
    /// The gate of SwiGLU, through the activation.
    Gate,
    /// From the hidden size to the intermediate one.
    Up,
    /// Back to the hidden size.
    Down,
}

impl MatrixKind {
    /// In the order in which they are multiplied.
    pub const ALL: [MatrixKind; 7] = [
        MatrixKind::Q,
        MatrixKind::K,
        MatrixKind::V,
        MatrixKind::O,
        MatrixKind::Gate,
        MatrixKind::Up,
        MatrixKind::Down,
    ];

    /// The matrix's part in its parameter's name, Hugging Face's.
    pub fn module(self) -> &'static str {
        match self {
            MatrixKind::Q => "self_attn.q_proj",
            MatrixKind::K => "self_attn.k_proj",
            MatrixKind::V => "self_attn.v_proj",
            MatrixKind::O => "self_attn.o_proj",
            MatrixKind::Gate => "mlp.gate_proj",
            MatrixKind::Up => "mlp.up_proj",
            MatrixKind::Down => "mlp.down_proj",
        }
    }

    /// The key of this matrix in a bit-map's per-matrix entry.
    pub fn key(self) -> &'static str {
        match self {
            MatrixKind::Q => "q",
            MatrixKind::K => "k",
            MatrixKind::V => "v",
            MatrixKind::O => "o",
            MatrixKind::Gate => "gate",
            MatrixKind::Up => "up",
            MatrixKind::Down => "down",
        }
    }
}

impl core::str::FromStr for MatrixKind {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        MatrixKind::ALL
            .into_iter()
            .find(|k| k.key() == text)
            .ok_or_else(|| ConfigError::UnknownMatrix(text.to_owned()))
    }
}

impl Serialize for MatrixKind {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.key())
    }
}

impl<'de> Deserialize<'de> for MatrixKind {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// One mode per matrix of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatrixModes {
    /// Of the queries.
    pub q: QuantMode,
    /// Of the keys.
    pub k: QuantMode,
    /// Of the values.
    pub v: QuantMode,
    /// Of attention's output.
    pub o: QuantMode,
    /// Ignored without SwiGLU.
    #[serde(default = "ternary")]
    pub gate: QuantMode,
    /// Of the MLP's input.
    pub up: QuantMode,
    /// Of the MLP's output.
    pub down: QuantMode,
}

fn ternary() -> QuantMode {
    QuantMode::Ternary
}

impl MatrixModes {
    /// Every matrix in `mode`.
    pub fn all(mode: QuantMode) -> Self {
        MatrixModes {
            q: mode,
            k: mode,
            v: mode,
            o: mode,
            gate: mode,
            up: mode,
            down: mode,
        }
    }

    /// Gives one matrix another mode.
    pub fn set(&mut self, kind: MatrixKind, mode: QuantMode) {
        *match kind {
            MatrixKind::Q => &mut self.q,
            MatrixKind::K => &mut self.k,
            MatrixKind::V => &mut self.v,
            MatrixKind::O => &mut self.o,
            MatrixKind::Gate => &mut self.gate,
            MatrixKind::Up => &mut self.up,
            MatrixKind::Down => &mut self.down,
        } = mode;
    }
}

/// A layer's entry of the map: one mode for the whole layer or one per matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum LayerMode {
    /// All matrices alike.
    Whole(QuantMode),
    /// Each its own.
    PerMatrix(MatrixModes),
}

// Derived untagged deserialization would hide which key or mode was wrong, and where it stands.
impl<'de> Deserialize<'de> for LayerMode {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Entry;

        impl<'de> Visitor<'de> for Entry {
            type Value = LayerMode;

            fn expecting(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
                f.write_str("a mode's name or an object with q, k, v, o, gate, up, down")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<LayerMode, E> {
                text.parse().map(LayerMode::Whole).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<LayerMode, A::Error> {
                MatrixModes::deserialize(MapAccessDeserializer::new(map)).map(LayerMode::from)
            }
        }

        d.deserialize_any(Entry)
    }
}

/// One mode for the whole layer where the matrices agree.
impl From<MatrixModes> for LayerMode {
    fn from(modes: MatrixModes) -> Self {
        if modes == MatrixModes::all(modes.q) {
            LayerMode::Whole(modes.q)
        } else {
            LayerMode::PerMatrix(modes)
        }
    }
}

impl LayerMode {
    /// The mode of a matrix.
    pub fn get(&self, kind: MatrixKind) -> QuantMode {
        match self {
            LayerMode::Whole(mode) => *mode,
            LayerMode::PerMatrix(m) => match kind {
                MatrixKind::Q => m.q,
                MatrixKind::K => m.k,
                MatrixKind::V => m.v,
                MatrixKind::O => m.o,
                MatrixKind::Gate => m.gate,
                MatrixKind::Up => m.up,
                MatrixKind::Down => m.down,
            },
        }
    }
}

/// The precision of every matrix of a model ("bit-map").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerBitMap {
    /// Of the embedding; with tied embeddings, of the head, too.
    pub embedding: QuantMode,
    /// One entry for each layer, from the first.
    pub layer_modes: Vec<LayerMode>,
    /// Of the head; ignored where it is tied to the embedding.
    pub lm_head: QuantMode,
}

impl LayerBitMap {
    /// Sandwich: both ends in F16, every layer in `body`.
    pub fn sandwich(layers: usize, body: QuantMode) -> Self {
        LayerBitMap {
            embedding: QuantMode::F16,
            layer_modes: vec![LayerMode::Whole(body); layers],
            lm_head: QuantMode::F16,
        }
    }

    /// A bit-map by itself, or the `layer_bit_map` of a search result or a model config, for a
    /// model of `layers` layers.
    ///
    /// # Errors
    /// They say the line.
    pub fn from_json(text: &str, layers: usize) -> Result<Self, ConfigError> {
        #[derive(Deserialize)]
        struct Inside {
            layer_bit_map: LayerBitMap,
        }

        let fail = |message: String| ConfigError::Json {
            what: "bit-map",
            message,
        };
        let text = without_bom(text);
        if let Some(what) = FileKind::of(text.as_bytes()).described() {
            return Err(fail(format!("the file is {what}")));
        }
        let explain = |e: serde_json::Error| {
            #[cfg(feature = "native")]
            let e = super::mistyped::plain(&e.to_string());
            fail(format!(
                "{e}; expected {{\"embedding\": MODE, \"layer_modes\": [one entry per layer: MODE or an object with q, k, v, o, gate, up, down], \"lm_head\": MODE}} with MODE one of f32, f16, eightbit, ternary, binary"
            ))
        };
        let inside = serde_json::from_str(text)
            .is_ok_and(|v: serde_json::Value| v.get("layer_bit_map").is_some());
        let map = if inside {
            serde_json::from_str::<Inside>(text).map(|i| i.layer_bit_map)
        } else {
            serde_json::from_str(text)
        }
        .map_err(explain)?;
        if map.layer_modes.len() != layers {
            let before = text.split("\"layer_modes\"").next().unwrap_or_default();
            return Err(fail(format!(
                "line {}: layer_modes has length {}, the model's num_layers is {layers}; give one entry for each layer",
                before.matches('\n').count() + 1,
                map.layer_modes.len()
            )));
        }
        Ok(map)
    }
}
