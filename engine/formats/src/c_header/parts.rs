//! Which of the C files a model needs.

use ternary_core::board::{Cache, Matrix, Model};
use ternary_core::config::{Activation, ModelConfig};
use ternary_core::layout::Encoding;

pub const TYPES: &str = concat!(include_str!("c/types.h"), "\n");
pub const NUMERICS: &str = concat!(include_str!("c/numerics.h"), "\n");

macro_rules! part {
    ($name:literal) => {
        concat!(include_str!(concat!("c/", $name, ".h")), "\n")
    };
}

/// How a matrix takes its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Multiply {
    F16,
    Int8,
    Float,
}

impl Multiply {
    pub fn of(model: &Model, m: &Matrix) -> Self {
        match (m.mode.is_quantized(), model.config.activation_bits) {
            (false, _) => Multiply::F16,
            (true, Some(_)) => Multiply::Int8,
            (true, None) => Multiply::Float,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Multiply::F16 => "f16",
            Multiply::Int8 => "int8",
            Multiply::Float => "float",
        }
    }
}

/// What an encoding's kernels are called.
pub fn encoding_name(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::F32 => "f32",
        Encoding::F16 => "f16",
        Encoding::Int8 => "int8",
        Encoding::Ternary2 => "ternary2",
        Encoding::TernaryBase3 => "base3",
        Encoding::Binary1 => "binary",
    }
}

/// Every matrix that is multiplied: those of the layers and the head.
pub fn multiplied<'a>(model: &'a Model) -> impl Iterator<Item = &'a Matrix<'a>> {
    let layers = model.layers.iter().flat_map(|l| {
        let always = [&l.q, &l.k, &l.v, &l.o, &l.up, &l.down];
        always.into_iter().chain(&l.gate)
    });
    layers.chain([&model.head])
}

/// Those and the embedding, which names the functions of its encoding too.
fn listed<'a>(model: &'a Model) -> impl Iterator<Item = &'a Matrix<'a>> {
    multiplied(model).chain([&model.embedding])
}

/// Whether rows of `encoding` are expanded to floats: those of the embedding, and of matrices with
/// float inputs.
pub fn is_expanded(model: &Model, encoding: Encoding) -> bool {
    let float = |m: &&Matrix| Multiply::of(model, m) == Multiply::Float;
    model.embedding.encoding == encoding
        || multiplied(model)
            .filter(float)
            .any(|m| m.encoding == encoding)
}

/// Whether rows of `encoding` meet int8 inputs.
pub fn is_summed(model: &Model, encoding: Encoding) -> bool {
    let int8 = |m: &&Matrix| Multiply::of(model, m) == Multiply::Int8;
    listed(model).filter(int8).any(|m| m.encoding == encoding)
}

/// The rotations that layers have: whether it is the one of `local_rope_theta`, in the order of
/// their numbers.
pub fn rotations(c: &ModelConfig) -> Vec<bool> {
    let used = |local: &bool| {
        (0..c.num_layers).any(|layer| c.rotates(layer) && c.rotates_locally(layer) == *local)
    };
    [false, true].into_iter().filter(used).collect()
}

/// Products and their inputs.
pub fn kernels(model: &Model) -> Vec<&'static str> {
    let uses = |how| listed(model).any(|m| Multiply::of(model, m) == how);
    let mut parts = Vec::new();
    parts.push(if uses(Multiply::Int8) {
        part!("input_int8")
    } else {
        part!("input_float")
    });
    for (encoding, expand, sum) in [
        (Encoding::F16, part!("expand_f16"), None),
        (
            Encoding::Int8,
            part!("expand_int8"),
            Some(part!("sum_int8")),
        ),
        (
            Encoding::Ternary2,
            part!("expand_ternary2"),
            Some(part!("sum_ternary2")),
        ),
        (
            Encoding::TernaryBase3,
            part!("expand_base3"),
            Some(part!("sum_base3")),
        ),
        (
            Encoding::Binary1,
            part!("expand_binary"),
            Some(part!("sum_binary")),
        ),
    ] {
        parts.extend(sum.filter(|_| is_summed(model, encoding)));
        parts.extend(is_expanded(model, encoding).then_some(expand));
    }
    for (how, part) in [
        (Multiply::F16, part!("multiply_f16")),
        (Multiply::Int8, part!("multiply_int8")),
        (Multiply::Float, part!("multiply_float")),
    ] {
        parts.extend(uses(how).then_some(part));
    }
    parts.push(part!("multiply"));
    parts
}

/// All that follows the constants.
pub fn decoder(model: &Model, cache: Cache) -> [&'static str; 9] {
    let c = &model.config;
    [
        match c.activation() {
            Activation::Gelu => part!("activation_gelu"),
            Activation::GeluErf => part!("activation_gelu_erf"),
            Activation::Silu => part!("activation_silu"),
            Activation::Relu2 => part!("activation_relu2"),
        },
        match cache {
            Cache::F32 => part!("cache_f32"),
            Cache::F16 => part!("cache_f16"),
        },
        part!("state"),
        match (c.use_rope, rotations(c).is_empty()) {
            (false, _) => part!("position_learned"),
            (true, false) => part!("position_rope"),
            (true, true) => part!("position_none"),
        },
        part!("attention"),
        if c.use_swiglu {
            part!("mlp_gated")
        } else {
            part!("mlp_plain")
        },
        part!("decoder"),
        part!("sampling"),
        part!("tokens"),
    ]
}
