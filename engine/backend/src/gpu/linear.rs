//! Matrix products and table look-ups: the choice of shader, and matrices bound in parts.

use ternary_shaders::{self as shaders, Shader};

use super::device::DEVICE;
use super::forms::{Form, Forms, Shape};
use super::kernel::{Call, Slice};
use super::lower;
use super::memory::{Memory, Part};
use crate::BackendError;
use ternary_core::config::QuantMode;
use ternary_core::quant::tile::data_bytes;
use ternary_model::program::{BufferId, EmbedTable, LinearInput, Op, Weight};

pub(super) fn embed(
    memory: &Memory,
    ids: BufferId,
    table: EmbedTable,
    out: BufferId,
    scale: f32,
    rows: usize,
    dim: usize,
) -> Result<Vec<Call>, BackendError> {
    let look_up = |call| look_up(call, memory, ids, out, scale, rows, dim);
    let weight = match table {
        EmbedTable::Weight(weight) => weight,
        EmbedTable::Float(id) => {
            let row_bytes = dim * size_of::<f32>();
            let vocab = memory.slice(id)?.size as usize / row_bytes;
            let parts = memory.parts(id, vocab, |rows| rows * row_bytes)?;
            return parts
                .into_iter()
                .map(|part| {
                    let call = part_of(Call::new(&shaders::EMBED_F32), part, vocab, dim);
                    look_up(call)
                })
                .collect();
        }
    };
    let shader = match weight.mode {
        QuantMode::F32 => &shaders::EMBED_F32,
        QuantMode::F16 => &shaders::EMBED_F16,
        QuantMode::EightBit => &shaders::EMBED_EIGHTBIT,
        QuantMode::Ternary => &shaders::EMBED_TERNARY,
        QuantMode::Binary => &shaders::EMBED_BINARY,
    };
    weight_calls(memory, "embed", shader, &weight)?
        .into_iter()
        .map(|(call, _)| look_up(call))
        .collect()
}

fn look_up(
    call: Call,
    memory: &Memory,
    ids: BufferId,
    out: BufferId,
    scale: f32,
    rows: usize,
    dim: usize,
) -> Result<Call, BackendError> {
    Ok(call
        .bind("ids", memory.bind(ids)?)
        .bind("out", memory.bind(out)?)
        .size("ROWS", rows)
        .set("SCALE", scale)
        .items(rows * dim.div_ceil(4)))
}

/// `out = input · Wᵀ`, or with `add` a factor: `out += add · input · Wᵀ`.
/// With `more`, the same of further matrices, whose weights and results may lie behind its own.
#[derive(Clone, Debug)]
pub(super) struct Product {
    /// What makes the input, where forms may do that themselves: see [`super::fuse::preparation`].
    pub before: Option<Op>,
    pub input: LinearInput,
    pub weight: Weight,
    pub out: BufferId,
    pub rows: usize,
    pub add: Option<f32>,
    pub more: Vec<(Weight, BufferId)>,
}

/// What several matrices are bound as when one dispatch multiplies them.
struct Joined {
    weights: Slice,
    scales: Option<Slice>,
    out: Slice,
}

impl Product {
    /// Of all matrices together.
    pub fn shape(&self) -> Shape {
        let more: usize = self.more.iter().map(|(weight, _)| weight.out_dim).sum();
        let mut shape = Shape::of(self.input, &self.weight, self.rows);
        shape.out_dim += more;
        shape.raw = self.before.is_some();
        shape
    }

    /// What it is computed from: rows that are yet to be prepared, or its input.
    pub fn source(&self) -> LinearInput {
        match self.before {
            Some(Op::QuantAct { x, .. } | Op::RmsNorm { x, .. }) => LinearInput::Float(x),
            _ => self.input,
        }
    }

    fn matrices(&self) -> impl Iterator<Item = (Weight, BufferId)> + '_ {
        std::iter::once((self.weight, self.out)).chain(self.more.iter().copied())
    }

    /// The last result and its length.
    pub fn last_out(&self, memory: &Memory) -> Result<(Slice, usize), BackendError> {
        let (weight, out) = self.more.last().copied().unwrap_or((self.weight, self.out));
        Ok((memory.slice(out)?, self.rows * weight.out_dim))
    }

    /// `None` where the matrices do not lie one behind the other, or there is but one.
    fn joined(&self, memory: &Memory) -> Result<Option<Joined>, BackendError> {
        if self.more.is_empty() {
            return Ok(None);
        }
        let data: Vec<_> = self.matrices().map(|(weight, _)| weight.data).collect();
        let outs: Vec<_> = self.matrices().map(|(_, out)| out).collect();
        let scales: Vec<_> = self
            .matrices()
            .filter_map(|(weight, _)| weight.scales)
            .collect();
        let (Some(weights), Some(out)) = (memory.bind_joined(&data)?, memory.bind_joined(&outs)?)
        else {
            return Ok(None);
        };
        let scales = match scales.is_empty() {
            true => None,
            false => match memory.bind_joined(&scales)? {
                Some(scales) => Some(scales),
                None => return Ok(None),
            },
        };
        Ok(Some(Joined {
            weights,
            scales,
            out,
        }))
    }

    /// In the form that suits the device.
    pub fn calls(&self, memory: &Memory, forms: &Forms) -> Result<Vec<Call>, BackendError> {
        self.calls_in(forms.of(&self.shape()), memory, forms)
    }

    pub fn calls_in(
        &self,
        form: Form,
        memory: &Memory,
        forms: &Forms,
    ) -> Result<Vec<Call>, BackendError> {
        #[cfg(test)]
        if forms.planted == Some(form) {
            return Ok(Vec::new());
        }
        let mut calls = match &self.before {
            Some(before) if !form.is_fused() => lower::lower_one(before, memory, forms)?,
            _ => Vec::new(),
        };
        calls.extend(self.products_in(form, memory, forms)?);
        Ok(calls)
    }

    fn products_in(
        &self,
        form: Form,
        memory: &Memory,
        forms: &Forms,
    ) -> Result<Vec<Call>, BackendError> {
        let joined = self.joined(memory)?;
        if joined.is_none() && !self.more.is_empty() {
            let mut calls = Vec::new();
            for (weight, out) in self.matrices() {
                let alone = Product {
                    weight,
                    out,
                    more: Vec::new(),
                    ..self.clone()
                };
                calls.extend(alone.products_in(form, memory, forms)?);
            }
            return Ok(calls);
        }
        let Product {
            weight,
            out,
            rows,
            add,
            ..
        } = *self;
        let shape = self.shape();
        let shader = forms.shader(form, shape.int8, weight.mode).ok_or_else(|| {
            unsupported("linear", "float weights take float activations".to_owned())
        })?;
        let (calls, out) = match joined {
            None => (
                weight_calls(memory, "linear", shader, &weight)?,
                memory.bind(out)?,
            ),
            Some(joined) => {
                let part = Part {
                    first_row: 0,
                    rows: shape.out_dim,
                    slice: joined.weights,
                };
                let mut call = part_of(Call::new(shader), part, shape.out_dim, weight.in_dim);
                if let Some(scales) = joined.scales {
                    call = call.bind("scales", scales).size("GROUP", weight.group);
                }
                let second = self.more.first().map_or(0, |(weight, _)| weight.out_dim);
                let call = call
                    .size("CUT1", weight.out_dim)
                    .size("CUT2", weight.out_dim + second);
                (vec![(call, shape.out_dim)], joined.out)
            }
        };
        calls
            .into_iter()
            .map(|(mut call, part_rows)| {
                call = self
                    .with_input(call, form, memory)?
                    .bind("out", out.clone())
                    .size("ROWS", rows)
                    .set("ACCUMULATE", add.is_some())
                    .set("SCALE", add.unwrap_or(1.0));
                if form.float_dot() {
                    call = call.set("FLOAT_DOT", true);
                }
                if let Some(matrices) = forms.cooperative.filter(|_| form.is_cooperative()) {
                    call = matrices.prepare(call, shader, forms.workgroup_bytes);
                }
                Ok(match form {
                    _ if form.is_tiles() => {
                        let tile = shader.constant("GEMM_TILE") as usize;
                        call.grid([part_rows.div_ceil(tile), rows.div_ceil(tile), 1])
                    }
                    _ if form.uses_subgroups() => {
                        let quads = forms.quads();
                        call.size("QUADS", quads)
                            .workgroups(part_rows.div_ceil(4 * quads))
                    }
                    _ => {
                        let group_rows = shader.constant("GROUP_ROWS") as usize;
                        call.workgroups(part_rows.div_ceil(group_rows))
                    }
                })
            })
            .collect()
    }

    /// The activations: as they are, or what they are to be made of.
    fn with_input(&self, call: Call, form: Form, memory: &Memory) -> Result<Call, BackendError> {
        let source = if form.is_fused() {
            self.source()
        } else {
            self.input
        };
        let call = match source {
            LinearInput::Int8 { codes, scales } => {
                return Ok(call
                    .bind("codes", memory.bind(codes)?)
                    .bind("row_scales", memory.bind(scales)?));
            }
            LinearInput::Float(x) => call.bind("x", memory.bind(x)?),
        };
        let norm = match self.before.as_ref().filter(|_| form.is_fused()) {
            Some(Op::QuantAct { norm, .. }) => *norm,
            Some(Op::RmsNorm { weight, eps, .. }) => Some((*weight, *eps)),
            _ => None,
        };
        if form.is_tiles() {
            return Ok(call);
        }
        lower::with_norm(call, norm, memory)
    }
}

/// One call per part of the weight with everything of the weight set, and the rows of that part.
fn weight_calls(
    memory: &Memory,
    op: &'static str,
    shader: &'static Shader,
    weight: &Weight,
) -> Result<Vec<(Call, usize)>, BackendError> {
    let Weight {
        mode,
        data,
        scales,
        out_dim,
        in_dim,
        group,
    } = *weight;
    memory
        .parts(data, out_dim, |rows| data_bytes(mode, rows, in_dim))?
        .into_iter()
        .map(|part| {
            let rows = part.rows;
            let mut call = part_of(Call::new(shader), part, out_dim, in_dim);
            if mode.is_quantized() {
                let scales = scales
                    .ok_or_else(|| unsupported(op, format!("{mode} weight without scales")))?;
                call = call
                    .bind("scales", memory.bind(scales)?)
                    .size("GROUP", group);
            }
            Ok((call, rows))
        })
        .collect()
}

fn part_of(call: Call, part: Part, out_dim: usize, in_dim: usize) -> Call {
    call.size("OUT_DIM", out_dim)
        .size("IN_DIM", in_dim)
        .size("FIRST_ROW", part.first_row)
        .size("WEIGHT_ROWS", part.rows)
        .bind("weights", part.slice)
}

fn unsupported(op: &'static str, reason: String) -> BackendError {
    BackendError::Unsupported {
        device: DEVICE,
        op,
        reason,
    }
}
