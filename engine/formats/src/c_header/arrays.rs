//! Constants: a model's numbers as arrays of C.

use std::fmt::{Display, Write};

use super::CHeaderError;
use super::parts::{self, Multiply, encoding_name};
use ternary_common::tokenizer::Tokenizer;
use ternary_core::board::{Matrix, Model, Norm, Vector};
use ternary_core::layout::Encoding;

/// Characters after which a line is broken.
const LINE: usize = 120;

/// Arrays written so far.
#[derive(Debug, Default)]
pub struct Arrays {
    pub text: String,
    /// What they take in flash.
    pub bytes: usize,
}

/// Deals the columns of a span out to `planes` planes: byte j is made of the codes of columns j, j
/// + n/planes, …; past a ragged end codes are none.
fn planes(codes: &[i8], planes: usize, byte: impl Fn(&[Option<i8>]) -> u8) -> Vec<u8> {
    let plane = codes.len().div_ceil(planes);
    let mut column = vec![None; planes];
    (0..plane)
        .map(|j| {
            for (p, c) in column.iter_mut().enumerate() {
                *c = codes.get(p * plane + j).copied();
            }
            byte(&column)
        })
        .collect()
}

/// A span as its kernel reads it, which tells the missing codes of a ragged end by zero bits.
pub(super) fn pack(encoding: Encoding, codes: &[i8]) -> Vec<u8> {
    // −1, 0, +1 as 0, 1, 2.
    let digit = |c: &Option<i8>| c.map_or(0, |c| (c + 1) as u8);
    match encoding {
        Encoding::Ternary2 => planes(codes, 4, |four| {
            four.iter().rev().fold(0, |byte, c| byte << 2 | digit(c))
        }),
        Encoding::TernaryBase3 => planes(codes, 5, |five| {
            let value = five.iter().fold(0u32, |v, c| 3 * v + u32::from(digit(c)));
            // The smallest byte that is at least value / 243 as a fraction of 256.
            (value * 256).div_ceil(243) as u8
        }),
        Encoding::Binary1 => planes(codes, 8, |eight| {
            let bit = |c: &Option<i8>| u8::from(c.is_some_and(|c| c > 0));
            eight.iter().rev().fold(0, |byte, c| byte << 1 | bit(c))
        }),
        Encoding::Int8 | Encoding::F16 | Encoding::F32 => codes.iter().map(|c| *c as u8).collect(),
    }
}

impl Arrays {
    fn array<T: Display>(
        &mut self,
        kind: &str,
        name: &str,
        element_bytes: usize,
        values: impl Iterator<Item = T>,
    ) {
        let mut body = String::new();
        let (mut count, mut line_start) = (0, 0);
        for v in values {
            if count > 0 {
                body.push(',');
            }
            if body.len() - line_start >= LINE {
                body.push('\n');
                line_start = body.len();
            }
            // Writing to a String cannot fail.
            let _ = write!(body, "{v}");
            count += 1;
        }
        self.bytes += count * element_bytes;
        let _ = write!(
            self.text,
            "static const {kind} model_{name}[{count}] = {{\n{body}}};\n"
        );
    }

    fn floats(
        &mut self,
        name: &str,
        values: impl Iterator<Item = f32>,
    ) -> Result<(), CHeaderError> {
        let values: Vec<f32> = values.collect();
        if let Some(bad) = values.iter().find(|v| !v.is_finite()) {
            return Err(CHeaderError::NotFinite {
                name: name.to_owned(),
                value: *bad,
            });
        }
        // The shortest decimal that reads back as the same float.
        self.array("float", name, 4, values.iter().map(|v| format!("{v:e}f")));
        Ok(())
    }

    /// An array if there is one; returns what points at it.
    fn vector(&mut self, name: &str, vector: Option<Vector>) -> Result<String, CHeaderError> {
        let Some(vector) = vector else {
            return Ok("NULL".to_owned());
        };
        self.floats(name, vector.values())?;
        Ok(format!("model_{name}"))
    }

    /// The initializer of a `model_norm`.
    fn norm(&mut self, name: &str, norm: Option<Norm>) -> Result<String, CHeaderError> {
        let weight = self.vector(name, norm.map(|n| n.weight))?;
        let bias = self.vector(&format!("{name}_bias"), norm.and_then(|n| n.bias))?;
        Ok(format!("{{{weight}, {bias}}}"))
    }

    /// The data of a matrix; returns the initializer of its `model_matrix`.
    fn matrix(&mut self, model: &Model, name: &str, m: &Matrix) -> Result<String, CHeaderError> {
        let scales = format!("{name}_scales");
        let count = m.scales().count();
        if count > 0 {
            self.floats(&scales, m.scales())?;
        }
        let rows = (0..m.rows).map(|r| m.row(r));
        let span_bytes = if m.encoding == Encoding::F16 {
            let halves = rows.flat_map(|row| row.as_chunks::<2>().0);
            self.array("uint16_t", name, 2, halves.map(|h| u16::from_le_bytes(*h)));
            2 * m.span
        } else {
            let mut codes = vec![0; m.cols];
            let mut bytes = Vec::new();
            for row in rows {
                m.encoding
                    .unpack_row(row, &mut codes, name)
                    .map_err(ternary_core::board::BoardError::from)?;
                for span in codes.chunks_exact(m.span) {
                    bytes.extend(pack(m.encoding, span));
                }
            }
            let span_bytes = bytes.len() / (m.rows * (m.cols / m.span));
            if m.encoding == Encoding::Int8 {
                self.array("int8_t", name, 1, bytes.iter().map(|b| *b as i8));
            } else {
                self.array("uint8_t", name, 1, bytes.iter());
            }
            span_bytes
        };
        let bias = self.vector(&format!("{name}_bias"), m.bias)?;
        let how = Multiply::of(model, m);
        let kind = encoding_name(m.encoding);
        let function = |used: bool, verb: &str| {
            if used {
                format!("model_{verb}_{kind}")
            } else {
                "NULL".to_owned()
            }
        };
        Ok(format!(
            "{{model_{name}, {}, {}u, {}u, {}u, {span_bytes}u, {}u, {bias}, model_multiply_{}, {}, {}}}",
            if count > 0 {
                format!("model_{scales}")
            } else {
                "model_one".to_owned()
            },
            m.rows,
            m.cols,
            m.span,
            u8::from(count > 1),
            how.name(),
            function(how == Multiply::Int8, "sum"),
            function(parts::is_expanded(model, m.encoding), "expand"),
        ))
    }

    fn layer(&mut self, model: &Model, index: usize) -> Result<String, CHeaderError> {
        let layer = &model.layers[index];
        let name = |part: &str| format!("l{index}_{part}");
        let (q_norm, k_norm) = layer
            .qk_norm
            .map_or((None, None), |(q, k)| (Some(q), Some(k)));
        let mut fields = Vec::new();
        for (part, norm) in [
            ("input_norm", layer.input_norm),
            ("q_norm", q_norm),
            ("k_norm", k_norm),
            ("attention_sub_norm", layer.attention_sub_norm),
            ("attention_output_norm", layer.attention_output_norm),
            ("mlp_norm", layer.mlp_norm),
            ("mlp_sub_norm", layer.mlp_sub_norm),
            ("mlp_output_norm", layer.mlp_output_norm),
        ] {
            fields.push(self.norm(&name(part), norm)?);
        }
        for (part, matrix) in [
            ("q", Some(layer.q)),
            ("k", Some(layer.k)),
            ("v", Some(layer.v)),
            ("o", Some(layer.o)),
            ("gate", layer.gate),
            ("up", Some(layer.up)),
            ("down", Some(layer.down)),
        ] {
            fields.push(match matrix {
                Some(m) => self.matrix(model, &name(part), &m)?,
                None => "{NULL, NULL, 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL}".to_owned(),
            });
        }
        let c = &model.config;
        fields.push(format!("{}u", c.window(index).unwrap_or(0)));
        let rotation = parts::rotations(c)
            .iter()
            .position(|local| c.rotates(index) && c.rotates_locally(index) == *local);
        fields.push(format!("{}u", rotation.map_or(0, |i| i + 1)));
        Ok(format!("    {{{}}}", fields.join(",\n     ")))
    }

    /// Weights, norms, positions and the tables that point at them.
    pub fn model(&mut self, model: &Model, context: usize) -> Result<(), CHeaderError> {
        let c = &model.config;
        self.floats("one", std::iter::once(1.0))?;
        let embedding = self.matrix(model, "embedding_data", &model.embedding)?;
        let head = if c.tie_word_embeddings {
            embedding.clone()
        } else {
            self.matrix(model, "head_data", &model.head)?
        };
        if let Some(positions) = &model.positions {
            let used = context * c.hidden_size;
            self.floats("positions", positions.values().take(used))?;
        }
        let rotations = parts::rotations(c);
        if !rotations.is_empty() {
            let pairs = 0..c.rotary_dim() / 2;
            let frequencies = rotations.iter().flat_map(|local| {
                pairs.clone().map(|j| match local {
                    true => c.local_rope_frequency(j),
                    false => c.rope_frequency(j),
                })
            });
            let factors = rotations.iter().map(|local| match local {
                true => 1.0,
                false => c.rope_attention_factor(),
            });
            let text = |f: f64| format!("{f:e}");
            self.array("double", "frequencies", 8, frequencies.map(text));
            self.array("double", "rotation_factors", 8, factors.map(text));
        }
        let final_norm = self.norm("final_norm_data", Some(model.final_norm))?;
        self.text += &format!("static const model_norm model_final_norm = {final_norm};\n");
        let layers = (0..c.num_layers)
            .map(|i| self.layer(model, i))
            .collect::<Result<Vec<_>, _>>()?;
        for (name, value) in [("embedding", embedding), ("head_matrix", head)] {
            self.text += &format!("static const model_matrix model_{name} =\n    {value};\n");
        }
        self.text += &format!(
            "static const model_layer model_layers[{}] = {{\n{}}};\n\n",
            layers.len(),
            layers.join(",\n")
        );
        Ok(())
    }

    /// Bytes of every token, and those that end a text; C has no empty arrays, so there is always
    /// one of each.
    pub fn tokens(&mut self, tokens: &[Vec<u8>], tokenizer: Option<&Tokenizer>) {
        let none = [Vec::new()];
        let tokens = if tokens.is_empty() { &none } else { tokens };
        let bytes: Vec<u8> = tokens.concat();
        self.array("uint8_t", "token_bytes", 1, bytes.iter().chain([&0]));
        let mut at = 0;
        let ends = tokens.iter().map(|t| {
            at += t.len();
            at
        });
        let starts: Vec<usize> = std::iter::once(0).chain(ends).collect();
        self.array("uint32_t", "token_starts", 4, starts.iter());
        let is_end = |id: &u32| tokenizer.is_some_and(|t| t.is_end(*id));
        let mut ends: Vec<String> = (0..tokens.len() as u32)
            .filter(is_end)
            .map(|id| format!("{id}u"))
            .collect();
        if ends.is_empty() {
            ends.push("UINT32_MAX".to_owned());
        }
        self.array("uint32_t", "end_ids", 4, ends.iter());
        self.text += &format!(
            "#define MODEL_TOKENS {}u\n#define MODEL_ENDS {}u\n\n",
            tokens.len(),
            ends.len()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_3_bytes_give_their_digits_back() {
        for value in 0..243u32 {
            let digits: Vec<i8> = (0..5)
                .rev()
                .map(|p| (value / 3u32.pow(p) % 3) as i8 - 1)
                .collect();
            let mut rest = u32::from(pack(Encoding::TernaryBase3, &digits)[0]);
            for d in digits {
                assert_eq!(((rest * 3) >> 8) as i8 - 1, d);
                rest = (rest * 3) & 0xff;
            }
        }
    }
}
