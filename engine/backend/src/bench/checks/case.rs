//! One operation, or a few that a GPU fuses, with the contents of their buffers.

use half::f16;

use crate::gpu::GpuBackend;
use crate::{Backend, BackendError, elements};
use ternary_core::config::{CachePrecision, QuantMode};
use ternary_core::quant::tile::{TileWriter, act_stride, data_len};
use ternary_core::rng::Rng;
use ternary_model::program::{BufferId, Elem, Op, Program, Recorder, Role, RunParams, Weight};

/// Sums of some hundred f32 products in another order, divisions and roots of a few ulp.
const SUMS: f64 = 2e-5;
/// Share of codes that may differ: two values a rounding apart may round to neighboring codes.
const ROUNDED: f64 = 1e-3;

/// Operations with what they read, and what of their results may differ.
#[derive(Debug)]
pub struct Case {
    pub operation: String,
    pub shape: String,
    program: Program,
    contents: Vec<(BufferId, Vec<u8>)>,
    results: Vec<BufferId>,
    run_params: RunParams,
    tolerance: f64,
    /// Share of the values that may be off by a code.
    outliers: f64,
    /// Results in any order.
    unordered: bool,
    /// Width of heads of codes with a scale behind them, if codes are such.
    kept_heads: Option<usize>,
}

impl Case {
    /// Names of the forms that it may have; none where there is no choice.
    pub(crate) fn forms(&self, gpu: &GpuBackend) -> Vec<&'static str> {
        gpu.forms_of(&self.program)
    }

    /// Names of what it runs.
    pub fn operations(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.program.ops.iter().map(Op::name)
    }

    /// The results on `backend`.
    pub(super) async fn run(
        &self,
        backend: &mut dyn Backend,
    ) -> Result<Vec<Vec<u8>>, BackendError> {
        let id = backend.prepare(self.program.clone())?;
        for (buffer, bytes) in &self.contents {
            backend.write(id, *buffer, bytes)?;
        }
        backend.run(id, &self.run_params)?;
        let results = backend.read(id, &self.results).await;
        backend.clear();
        results
    }

    /// The largest error, or what is wrong.
    pub(super) fn compare(&self, got: &[Vec<u8>], want: &[Vec<u8>]) -> Result<f64, String> {
        let mut worst = 0.0f64;
        for ((id, got), want) in self.results.iter().zip(got).zip(want) {
            let elem = self.program.buffers[id.index()].elem;
            if let (Elem::I8, Some(head_dim)) = (elem, self.kept_heads) {
                let ([codes, scales], [want_codes, want_scales]) =
                    (apart(got, head_dim), apart(want, head_dim));
                for (elem, got, want) in [
                    (Elem::I8, codes, want_codes),
                    (Elem::F32, scales, want_scales),
                ] {
                    let (got, want) = (values(elem, &got), values(elem, &want));
                    worst = worst.max(self.error(elem, &got, &want)?);
                }
                continue;
            }
            let (mut got, mut want) = (values(elem, got), values(elem, want));
            if self.unordered {
                got.sort_by(f64::total_cmp);
                want.sort_by(f64::total_cmp);
            }
            worst = worst.max(self.error(elem, &got, &want)?);
        }
        Ok(worst)
    }

    fn error(&self, elem: Elem, got: &[f64], want: &[f64]) -> Result<f64, String> {
        if got.len() != want.len() || got.is_empty() {
            return Err(format!("{} values, the CPU has {}", got.len(), want.len()));
        }
        let mean = want.iter().map(|w| w.abs()).sum::<f64>() / want.len() as f64;
        let tolerance = match elem {
            Elem::F32 => self.tolerance,
            // The next number of 11 bits.
            Elem::F16 => self.tolerance.max(1e-3),
            Elem::I8 | Elem::U32 => 0.0,
        };
        let mut worst = 0.0f64;
        let mut spare = (self.outliers * want.len() as f64).ceil() as usize;
        for (i, (g, w)) in got.iter().zip(want).enumerate() {
            let difference = (g - w).abs();
            let relative = difference / (w.abs() + mean).max(f64::MIN_POSITIVE);
            if relative <= tolerance {
                worst = worst.max(relative);
            } else if g.is_finite() && spare > 0 && (elem != Elem::I8 || difference <= 1.0) {
                spare -= 1;
            } else {
                return Err(format!("value {i} is {g}, the CPU has {w}"));
            }
        }
        Ok(worst)
    }
}

/// Codes and scales of heads that a cache keeps.
fn apart(cache: &[u8], head_dim: usize) -> [Vec<u8>; 2] {
    let heads = cache.chunks(CachePrecision::Q8.head_bytes(head_dim));
    let mut parts = [Vec::new(), Vec::new()];
    for (codes, scale) in heads.map(|head| head.split_at(head_dim)) {
        parts[0].extend(codes);
        parts[1].extend(scale);
    }
    parts
}

fn values(elem: Elem, bytes: &[u8]) -> Vec<f64> {
    match elem {
        Elem::F32 => elements::<f32>(bytes).into_iter().map(f64::from).collect(),
        Elem::F16 => elements::<f16>(bytes).into_iter().map(f64::from).collect(),
        Elem::I8 => elements::<i8>(bytes).into_iter().map(f64::from).collect(),
        Elem::U32 => elements::<u32>(bytes).into_iter().map(f64::from).collect(),
    }
}

/// Makes a [`Case`].
pub(super) struct Builder {
    rng: Rng,
    recorder: Recorder,
    contents: Vec<(BufferId, Vec<u8>)>,
    ops: Vec<Op>,
    pub run_params: RunParams,
    pub tolerance: f64,
    outliers: f64,
    pub unordered: bool,
    kept_heads: Option<usize>,
}

impl Builder {
    /// All `rows` are valid, from position 2 on.
    pub fn new(rows: usize) -> Builder {
        Builder {
            rng: Rng::new(7),
            recorder: Recorder::new(),
            contents: Vec::new(),
            ops: Vec::new(),
            run_params: RunParams {
                pos: 2,
                rows: rows as u32,
                grad_scale: 0.25,
                ..RunParams::default()
            },
            tolerance: SUMS,
            outliers: 0.0,
            unordered: false,
            kept_heads: None,
        }
    }

    fn with(&mut self, elem: Elem, bytes: Vec<u8>) -> BufferId {
        let id = self.recorder.io(elem, bytes.len() / elem.bytes());
        self.contents.push((id, bytes));
        id
    }

    fn with_floats(&mut self, values: &[f32]) -> BufferId {
        self.with(Elem::F32, bytemuck::cast_slice(values).to_vec())
    }

    /// Normal.
    pub fn floats(&mut self, len: usize) -> BufferId {
        let values: Vec<f32> = (0..len).map(|_| self.rng.normal()).collect();
        self.with_floats(&values)
    }

    /// In 0.5 .. 1.5.
    pub fn positive(&mut self, len: usize) -> BufferId {
        let values: Vec<f32> = (0..len).map(|_| self.rng.uniform() as f32 + 0.5).collect();
        self.with_floats(&values)
    }

    /// Rows that become codes as they are: whole numbers up to 127, the first of a row.
    pub fn whole(&mut self, rows: usize, dim: usize) -> BufferId {
        let values: Vec<f32> = (0..rows * dim)
            .map(|i| match i % dim {
                0 => 127.0,
                _ => self.rng.below(255) as f32 - 127.0,
            })
            .collect();
        self.with_floats(&values)
    }

    pub fn halves(&mut self, len: usize) -> BufferId {
        let values: Vec<f16> = (0..len).map(|_| f16::from_f32(self.rng.normal())).collect();
        self.with(Elem::F16, bytemuck::cast_slice(&values).to_vec())
    }

    /// A cache of so many heads; of zeros, if something is to be written to it.
    pub fn cache(
        &mut self,
        precision: CachePrecision,
        heads: usize,
        head_dim: usize,
        zeros: bool,
    ) -> BufferId {
        let len = heads * head_dim;
        let (elem, filled) = match precision {
            CachePrecision::F32 => (Elem::F32, Builder::floats as fn(&mut Builder, usize) -> _),
            CachePrecision::F16 => (Elem::F16, Builder::halves as fn(&mut Builder, usize) -> _),
            CachePrecision::Q8 => {
                self.kept_heads = Some(head_dim);
                let mut bytes = Vec::new();
                for _ in 0..heads {
                    bytes.extend((0..head_dim).map(|_| (self.rng.below(255) as i16 - 127) as u8));
                    let scale = (0.5 + self.rng.uniform() as f32) / 127.0;
                    bytes.extend(scale.to_le_bytes());
                }
                return match zeros {
                    true => self.zeros_of(Elem::I8, bytes.len()),
                    false => self.with(Elem::I8, bytes),
                };
            }
        };
        match zeros {
            true => self.zeros_of(elem, len),
            false => filled(self, len),
        }
    }

    pub fn ids(&mut self, len: usize, below: usize) -> BufferId {
        let ids: Vec<u32> = (0..len)
            .map(|_| self.rng.below(below as u64) as u32)
            .collect();
        self.with(Elem::U32, bytemuck::cast_slice(&ids).to_vec())
    }

    /// Different ones.
    pub fn ids_in_order(&mut self, len: usize) -> BufferId {
        let ids: Vec<u32> = (0..len as u32).collect();
        self.with(Elem::U32, bytemuck::cast_slice(&ids).to_vec())
    }

    /// Positions in documents of `len` tokens, the last of each sequence cut off.
    pub fn positions(&mut self, batch: usize, seq: usize, len: usize) -> BufferId {
        let positions: Vec<u32> = (0..batch * seq).map(|r| (r % seq % len) as u32).collect();
        self.with(Elem::U32, bytemuck::cast_slice(&positions).to_vec())
    }

    /// Zeros, for results and sums.
    pub fn zeros(&mut self, len: usize) -> BufferId {
        self.recorder.io(Elem::F32, len)
    }

    pub fn zeros_of(&mut self, elem: Elem, len: usize) -> BufferId {
        self.recorder.io(elem, len)
    }

    /// Nobody reads it but the next operation.
    pub fn scratch(&mut self, len: usize) -> BufferId {
        self.scratch_of(Elem::F32, len)
    }

    pub fn scratch_of(&mut self, elem: Elem, len: usize) -> BufferId {
        self.recorder.scratch(elem, len)
    }

    pub fn codes(&mut self, rows: usize, dim: usize) -> BufferId {
        let mut codes = vec![0i8; rows * act_stride(dim)];
        for row in codes.chunks_exact_mut(act_stride(dim)) {
            row[..dim].fill_with(|| (self.rng.below(255) as i16 - 127) as i8);
        }
        self.with(Elem::I8, bytemuck::cast_slice(&codes).to_vec())
    }

    /// A random matrix in the run-time layout; `group` columns share a scale.
    pub fn weight(
        &mut self,
        mode: QuantMode,
        out_dim: usize,
        in_dim: usize,
        group: usize,
    ) -> Weight {
        let mut writer = TileWriter::new(mode, out_dim, in_dim);
        for r in 0..out_dim {
            match mode {
                QuantMode::F32 => {
                    let row: Vec<f32> = (0..in_dim).map(|_| self.rng.normal()).collect();
                    writer.row_floats(r, bytemuck::cast_slice(&row));
                }
                QuantMode::F16 => {
                    let row: Vec<f16> = (0..in_dim)
                        .map(|_| f16::from_f32(self.rng.normal()))
                        .collect();
                    writer.row_floats(r, bytemuck::cast_slice(&row));
                }
                _ => {
                    let row: Vec<i8> = (0..in_dim).map(|_| self.code(mode)).collect();
                    writer.row(r, &row);
                }
            }
        }
        let (elem, _) = data_len(mode, out_dim, in_dim);
        let data = self.with(elem, writer.finish());
        Weight {
            mode,
            data,
            scales: mode
                .is_quantized()
                .then(|| self.positive(out_dim * (in_dim / group))),
            out_dim,
            in_dim,
            group,
        }
    }

    fn code(&mut self, mode: QuantMode) -> i8 {
        match mode {
            QuantMode::Ternary => self.rng.below(3) as i8 - 1,
            QuantMode::Binary => 2 * self.rng.below(2) as i8 - 1,
            _ => (self.rng.below(255) as i16 - 127) as i8,
        }
    }

    pub fn push(&mut self, op: Op) {
        self.ops.push(op);
    }

    /// Whatever comes to lie between two codes may be rounded either way.
    pub fn rounds(&mut self) {
        self.outliers = ROUNDED;
    }

    /// The case of what was pushed; all that its operations write is compared.
    pub fn finish(self, shape: String) -> Case {
        let Builder {
            mut recorder,
            contents,
            ops,
            run_params,
            tolerance,
            outliers,
            unordered,
            kept_heads,
            ..
        } = self;
        let mut results = Vec::new();
        for op in &ops {
            for id in op.access().writes {
                if !results.contains(&id) {
                    results.push(id);
                }
            }
            recorder.push(op.clone());
        }
        let names: Vec<_> = ops.iter().map(Op::name).collect();
        let program = recorder.finish("check");
        results.retain(|id| program.buffers[id.index()].role == Role::Io);
        Case {
            operation: names.join(" + "),
            shape,
            program,
            contents,
            results,
            run_params,
            tolerance,
            outliers,
            unordered,
            kept_heads,
        }
    }
}
