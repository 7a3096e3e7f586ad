//! A matrix as a picture: a pixel per weight.

use ternary::config::QuantMode;
use ternary::session::Weights;

use super::strips::Strips;

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

/// Whether the file beside has another weight there.
pub fn differs(weights: &Weights, other: &Weights, row: usize, column: usize) -> bool {
    match (weights.code(row, column), other.code(row, column)) {
        (Some(a), Some(b)) if weights.mode == other.mode => a != b,
        _ => weights.value(row, column) != other.value(row, column),
    }
}

fn mix(from: Color, to: Color, share: f32) -> Color {
    let mut mixed = from;
    for (at, to) in mixed.iter_mut().zip(to) {
        *at = (f32::from(*at) + (f32::from(to) - f32::from(*at)) * share).round() as u8;
    }
    mixed
}

/// RGBA of the picture; nothing is drawn between strips.
pub fn pixels(
    weights: &Weights,
    other: Option<&Weights>,
    strips: Strips,
    palette: &Palette,
) -> Vec<u8> {
    let most = match weights.mode {
        QuantMode::Ternary | QuantMode::Binary => 1.0,
        QuantMode::EightBit => 127.0,
        QuantMode::F32 | QuantMode::F16 => weights
            .all_values()
            .fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs())),
    };
    let color = |row: usize, column: usize| {
        let shade = match weights.code(row, column) {
            Some(code) => f32::from(code) / most,
            // Small floats would all look like none.
            None => {
                let value = weights.value(row, column) / most;
                value.abs().sqrt().copysign(value)
            }
        };
        match other {
            Some(other) if differs(weights, other, row, column) => palette.flip,
            _ if shade < 0.0 => mix(palette.zero, palette.minus, -shade),
            _ => mix(palette.zero, palette.plus, shade),
        }
    };
    let (width, height) = strips.size();
    let (width, height) = (width as usize, height as usize);
    let mut bytes = Vec::with_capacity(width * height * 4);
    for y in 0..height {
        for x in 0..width {
            bytes.extend_from_slice(&match strips.at(x, y) {
                Some((row, column)) => {
                    let [red, green, blue] = color(row, column);
                    [red, green, blue, 255]
                }
                None => [0; 4],
            });
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
