//! A matrix as a picture: a pixel per weight.

use ternary::config::QuantMode;
use ternary::format::ScalePer;
use ternary::session::Weights;

/// Red, green, blue.
pub type Color = [u8; 3];

/// Colors of the present scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Palette {
    pub minus: Color,
    pub zero: Color,
    pub plus: Color,
    /// Of a weight that the file beside has other.
    pub flip: Color,
}

/// Which scale a weight has.
pub fn scale(weights: &Weights, row: usize, column: usize) -> f32 {
    let at = match weights.scale_per {
        ScalePer::None => return 1.0,
        ScalePer::Tensor => 0,
        ScalePer::Row => row,
        ScalePer::Group | ScalePer::GroupF16 => {
            let group = weights.group.max(1);
            row * (weights.columns / group) + column / group
        }
    };
    weights.scales.get(at).copied().unwrap_or(1.0)
}

/// The weight's code; none of a float.
pub fn code(weights: &Weights, row: usize, column: usize) -> Option<i8> {
    let at = row * weights.columns + column;
    weights.codes.get(at).map(|code| *code as i8)
}

/// What the weight multiplies by.
pub fn value(weights: &Weights, row: usize, column: usize) -> f32 {
    match code(weights, row, column) {
        Some(code) => f32::from(code) * scale(weights, row, column),
        None => {
            let at = (row * weights.columns + column) * 4;
            let bytes = weights
                .values
                .get(at..at + 4)
                .and_then(|b| b.try_into().ok());
            bytes.map_or(0.0, f32::from_le_bytes)
        }
    }
}

/// All weights shown.
pub fn values(weights: &Weights) -> Vec<f32> {
    let rows = 0..weights.shown_rows;
    rows.flat_map(|row| (0..weights.columns).map(move |column| (row, column)))
        .map(|(row, column)| value(weights, row, column))
        .collect()
}

/// Whether the file beside has another weight there.
pub fn differs(weights: &Weights, other: &Weights, row: usize, column: usize) -> bool {
    match (code(weights, row, column), code(other, row, column)) {
        (Some(a), Some(b)) => a != b,
        _ => value(weights, row, column) != value(other, row, column),
    }
}

fn mix(from: Color, to: Color, share: f32) -> Color {
    let mut mixed = from;
    for (at, to) in mixed.iter_mut().zip(to) {
        *at = (f32::from(*at) + (f32::from(to) - f32::from(*at)) * share).round() as u8;
    }
    mixed
}

/// RGBA, `[shown_rows, columns]`.
pub fn pixels(weights: &Weights, other: Option<&Weights>, palette: &Palette) -> Vec<u8> {
    let most = match weights.mode {
        QuantMode::Ternary | QuantMode::Binary => 1.0,
        QuantMode::EightBit => 127.0,
        QuantMode::F32 | QuantMode::F16 => values(weights)
            .iter()
            .fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs())),
    };
    let mut bytes = Vec::with_capacity(weights.shown_rows * weights.columns * 4);
    for row in 0..weights.shown_rows {
        for column in 0..weights.columns {
            let shade = match code(weights, row, column) {
                Some(code) => f32::from(code) / most,
                // Small floats would all look like none.
                None => {
                    let value = value(weights, row, column) / most;
                    value.abs().sqrt().copysign(value)
                }
            };
            let color = match other {
                Some(other) if differs(weights, other, row, column) => palette.flip,
                _ if shade < 0.0 => mix(palette.zero, palette.minus, -shade),
                _ => mix(palette.zero, palette.plus, shade),
            };
            bytes.extend_from_slice(&[color[0], color[1], color[2], 255]);
        }
    }
    bytes
}

/// `#rrggbb`.
pub fn parse_color(text: &str) -> Option<Color> {
    let hex = text.trim().strip_prefix('#')?;
    let part = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    Some([part(0)?, part(2)?, part(4)?])
}
