//! The choice of the forms of training's products, and of what their operands are stored in. All is
//! timed on matrices of its own: gradients that a step adds to must not change, and operands that
//! are not yet written would be zeros.

use half::f16;

use super::super::forms::{Form, OPERANDS};
use super::super::kernel::Step;
use super::super::precision::Product;
use super::super::train::products::Multiplied;
use super::super::{GpuBackend, halves};
use crate::{Backend, BackendError};
use ternary_core::config::QuantMode;
use ternary_core::rng::Rng;
use ternary_model::program::{BufferId, Elem, Op, Program, Recorder, RunParams, WeightQuant};

/// Sides of products are timed up to this length: 16 MiB a matrix, and what is larger takes as much
/// longer in every form.
const MOST: usize = 2048;
/// Sides of the products that operands are stored for.
const SIDE: usize = 1024;
/// Of the gradients that are multiplied.
const GRADIENT: f32 = 1e-4;

impl GpuBackend {
    /// Products of every kind in the prepared programs that have no form yet.
    pub(super) fn open_products(&self) -> Vec<Multiplied> {
        let mut open: Vec<Multiplied> = Vec::new();
        for prepared in &self.programs {
            let halves = halves(&prepared.program);
            for op in &prepared.program.ops {
                let of = Multiplied::of(op, self.product, |id| halves[id.index()]);
                let Some(multiplied) = of else {
                    continue;
                };
                let forms = &self.gpu.forms;
                if forms.is_open(&multiplied.to_string(), &multiplied.offered(forms))
                    && !open.contains(&multiplied)
                {
                    open.push(multiplied);
                }
            }
        }
        open
    }

    pub(super) async fn choose_product_form(
        &mut self,
        multiplied: &Multiplied,
    ) -> Result<(), BackendError> {
        let timed = Multiplied {
            size: multiplied.size.map(|side| side.min(MOST)),
            ..*multiplied
        };
        let (what, forms) = (timed.to_string(), multiplied.offered(&self.gpu.forms));
        let form = match self.gpu.forms.is_open(&what, &forms) {
            true => {
                let usual = forms[0];
                let fastest = self.fastest_of(&what, forms, || alone(&timed)).await?;
                fastest.unwrap_or(usual)
            }
            false => self.gpu.forms.pick(&what, &forms),
        };
        self.gpu.forms.choose(what, form);
        self.gpu.forms.choose(multiplied.to_string(), form);
        Ok(())
    }

    /// Store operands that products round to f16 in what is faster.
    pub(in super::super) async fn choose_operands(&mut self) -> Result<(), BackendError> {
        let real = !self.gpu.info.software && self.product != Product::F32;
        if !real || !self.gpu.forms.is_open(OPERANDS, &Form::OPERANDS) {
            return Ok(());
        }
        self.choose_operands_of(SIDE).await
    }

    /// The same by products of matrices of this side.
    pub(crate) async fn choose_operands_of(&mut self, side: usize) -> Result<(), BackendError> {
        let forms = vec![Form::OperandsF32, Form::OperandsF16];
        let matrix = || trained_matrix(side);
        let fastest = self.fastest_of(OPERANDS, forms, matrix).await?;
        let form = fastest.unwrap_or(Form::OperandsF32);
        self.gpu.forms.choose(OPERANDS.to_owned(), form);
        self.gpu.forms.save();
        Ok(())
    }

    /// The fastest of `forms` of `what`, in a program that is prepared for each.
    async fn fastest_of(
        &mut self,
        what: &str,
        forms: Vec<Form>,
        program: impl Fn() -> Alone,
    ) -> Result<Option<Form>, BackendError> {
        let (programs, scratch) = (self.programs.len(), self.pool.sizes().count());
        let fastest = self.timed(what, forms, program).await;
        self.forget(programs, scratch);
        fastest
    }

    async fn timed(
        &mut self,
        what: &str,
        forms: Vec<Form>,
        program: impl Fn() -> Alone,
    ) -> Result<Option<Form>, BackendError> {
        let mut want = None;
        let mut good = Vec::new();
        for form in forms {
            self.gpu.forms.choose(what.to_owned(), form);
            let attempt = self.attempt_alone(program()).await;
            self.compare(what, form, attempt, &mut want, &mut good)?;
        }
        self.race(what, good).await
    }

    /// The steps in the form that is chosen, and their results.
    async fn attempt_alone(&mut self, alone: Alone) -> Result<(Vec<Step>, Vec<u8>), BackendError> {
        let id = self.prepare(alone.program)?;
        for (input, contents) in &alone.inputs {
            self.write(id, *input, contents)?;
        }
        let run_params = RunParams {
            grad_scale: GRADIENT,
            ..RunParams::default()
        };
        self.run(id, &run_params)?;
        let results = self.read(id, &alone.outs).await?.concat();
        Ok((std::mem::take(&mut self.programs[id.0].steps), results))
    }
}

/// What is timed, by itself.
struct Alone {
    program: Program,
    inputs: Vec<(BufferId, Vec<u8>)>,
    outs: Vec<BufferId>,
}

/// Floats of about `size`.
fn noise(seed: u64, len: usize, size: f32) -> Vec<f32> {
    let mut rng = Rng::new(seed);
    (0..len).map(|_| size * rng.normal()).collect()
}

fn alone(multiplied: &Multiplied) -> Alone {
    let ([m, n, k], [trans_a, trans_b]) = (multiplied.size, multiplied.transposed);
    let mut recorder = Recorder::new();
    let mut inputs = Vec::new();
    // A gradient in f16 is as large as any other value there.
    let gradient = if trans_b || multiplied.halves[0] {
        1.0
    } else {
        GRADIENT
    };
    for (i, (len, size)) in [(m * k, gradient), (k * n, 1.0)].into_iter().enumerate() {
        let values = noise(i as u64, len, size);
        let (elem, bytes) = match multiplied.halves[i] {
            true => {
                let halves: Vec<f16> = values.iter().map(|v| f16::from_f32(*v)).collect();
                (Elem::F16, bytemuck::cast_slice(&halves).to_vec())
            }
            false => (Elem::F32, bytemuck::cast_slice(&values).to_vec()),
        };
        inputs.push((recorder.io(elem, len), bytes));
    }
    let out = recorder.io(Elem::F32, m * n);
    recorder.push(Op::MatMul {
        a: inputs[0].0,
        b: inputs[1].0,
        out,
        m,
        n,
        k,
        trans_a,
        trans_b,
        accumulate: false,
    });
    Alone {
        program: recorder.finish("product"),
        inputs,
        outs: vec![out],
    }
}

/// Forward and backward of a quantized matrix.
fn trained_matrix(side: usize) -> Alone {
    let len = side * side;
    let mut recorder = Recorder::new();
    let [latent, x, dy] = [(1, 1.0), (2, 1.0), (3, GRADIENT)].map(|(seed, size)| {
        let bytes = bytemuck::cast_slice(&noise(seed, len, size)).to_vec();
        (recorder.io(Elem::F32, len), bytes)
    });
    let outs = [0; 3].map(|_| recorder.io(Elem::F32, len));
    let [weight, act] = [0; 2].map(|_| recorder.f32(len));
    recorder.push(Op::FakeQuantWeight {
        latent: latent.0,
        out: weight,
        rows: side,
        cols: side,
        quant: WeightQuant {
            mode: QuantMode::Ternary,
            group: side,
            scaled: true,
            twn: false,
            centered: false,
            clamp: 0.0,
        },
        arenas: false,
    });
    recorder.push(Op::FakeQuantAct {
        x: x.0,
        out: act,
        rows: side,
        dim: side,
    });
    for (i, (a, b, [trans_a, trans_b])) in [
        (act, weight, [false, true]),
        (dy.0, act, [true, false]),
        (dy.0, weight, [false, false]),
    ]
    .into_iter()
    .enumerate()
    {
        recorder.push(Op::MatMul {
            a,
            b,
            out: outs[i],
            m: side,
            n: side,
            k: side,
            trans_a,
            trans_b,
            accumulate: false,
        });
    }
    Alone {
        program: recorder.finish("trained matrix"),
        inputs: vec![latent, x, dy],
        outs: outs.to_vec(),
    }
}
