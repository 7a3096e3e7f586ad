//! Choosing among the forms of a product, or of attention, on the device: each is compared with the
//! first, which every device can run, and timed for some milliseconds: products over all matrices
//! of a shape, so that weights come from memory as they do in a step; attention, and products of
//! training, in programs of their own.

mod attention;
#[cfg(all(feature = "training", not(target_arch = "wasm32")))]
mod products;

use std::time::Duration;

use super::forms::{Form, Shape};
use super::kernel::Step;
use super::linear::Product;
use super::{GpuBackend, lower};
use crate::BackendError;
use ternary_common::platform::Instant;
use ternary_core::quant::tile::act_stride;
use ternary_core::rng::Rng;
use ternary_model::program::{BufferId, LinearInput, Role, RunParams};

/// A measurement lasts at least so long: waiting for the queue takes a part of that.
const ROUND: Duration = Duration::from_millis(2);
/// Measurements of each form, of which the shortest counts.
const ROUNDS: usize = 3;
/// Runs within a measurement at most.
const MOST_RUNS: usize = 256;

/// Products of one shape, and the program that they belong to.
struct Candidates {
    shape: Shape,
    program: usize,
    products: Vec<Product>,
}

impl GpuBackend {
    /// Choose a form for every shape in the prepared programs that has none yet.
    pub(crate) async fn choose_forms(&mut self) -> Result<(), BackendError> {
        let open = self.open_shapes();
        let attention = self.open_attention();
        #[cfg(all(feature = "training", not(target_arch = "wasm32")))]
        let training = self.open_products();
        // In a page products have one form, see `IN_FULL`.
        #[cfg(not(all(feature = "training", not(target_arch = "wasm32"))))]
        let training: [(); 0] = [];
        if open.is_empty() && attention.is_empty() && training.is_empty() {
            return Ok(());
        }
        for candidates in &open {
            let form = self.fastest(candidates).await?;
            let shape = candidates.shape.to_string();
            self.gpu.forms.choose(shape, form);
        }
        for attention in &attention {
            self.choose_attention(attention).await?;
        }
        #[cfg(all(feature = "training", not(target_arch = "wasm32")))]
        for multiplied in &training {
            self.choose_product_form(multiplied).await?;
        }
        self.gpu.forms.save();
        if let Some(cache) = &mut self.gpu.pipeline_cache {
            cache.save();
        }
        let mut programs = std::mem::take(&mut self.programs);
        let renewed = programs.iter_mut().try_for_each(|prepared| {
            prepared.steps = self.lower(&prepared.program, &prepared.units, &prepared.memory)?;
            Ok(())
        });
        self.programs = programs;
        renewed
    }

    fn open_shapes(&self) -> Vec<Candidates> {
        let mut open: Vec<Candidates> = Vec::new();
        for (program, prepared) in self.programs.iter().enumerate() {
            let scratch = |id: BufferId| {
                let decl = &prepared.program.buffers[id.index()];
                matches!(decl.role, Role::Scratch { .. })
            };
            for unit in &prepared.units {
                let Some(mut product) = lower::product(&prepared.program.ops[unit.clone()]) else {
                    continue;
                };
                // Only what is written before it is read may be overwritten.
                let free = match product.source() {
                    LinearInput::Float(x) => scratch(x),
                    LinearInput::Int8 { codes, scales } => scratch(codes) && scratch(scales),
                };
                let shape = product.shape();
                let offered = self.gpu.forms.offered(&shape);
                if !free || !self.gpu.forms.is_open(&shape.to_string(), &offered) {
                    continue;
                }
                product.add = None;
                let known = open.iter_mut().find(|c| c.shape == shape);
                match known {
                    Some(known) if known.program == program => known.products.push(product),
                    Some(_) => {}
                    None => open.push(Candidates {
                        shape,
                        program,
                        products: vec![product],
                    }),
                }
            }
        }
        open
    }

    async fn fastest(&mut self, candidates: &Candidates) -> Result<Form, BackendError> {
        let shape = &candidates.shape;
        let offered = self.gpu.forms.offered(shape);
        self.fill(candidates)?;
        let mut want = None;
        let mut good = Vec::new();
        for form in offered {
            let attempt = match self.steps(candidates, form) {
                Ok(steps) => {
                    let product = self.result(candidates, &steps).await;
                    product.map(|product| (steps, product))
                }
                Err(e) => Err(e),
            };
            self.compare(&shape.to_string(), form, attempt, &mut want, &mut good)?;
        }
        let best = self.race(&shape.to_string(), good).await?;
        Ok(best.unwrap_or(Form::Workgroup))
    }

    /// Back to `count` programs and `scratch` buffers of the pool: what was timed leaves nothing
    /// behind.
    fn forget(&mut self, count: usize, scratch: usize) {
        self.programs.truncate(count);
        self.pool.truncate(scratch);
    }

    /// Takes a form for one of the `good` ones if its result is that of the first.
    fn compare(
        &self,
        what: &str,
        form: Form,
        attempt: Result<(Vec<Step>, Vec<u8>), BackendError>,
        want: &mut Option<Vec<u8>>,
        good: &mut Vec<(Form, Vec<Step>)>,
    ) -> Result<(), BackendError> {
        let name = form.name();
        match attempt {
            Err(e) if want.is_some() && !self.gpu.is_lost() => {
                log::warn!("the form {name} of {what} is not used: {e}");
            }
            attempt => {
                let (steps, result) = attempt?;
                match want.get_or_insert_with(|| result.clone()) == &result {
                    true => good.push((form, steps)),
                    false => {
                        log::warn!(
                            "the form {name} of {what} is wrong on this GPU and is not used"
                        );
                    }
                }
            }
        }
        Ok(())
    }

    /// The form whose steps take the shortest.
    async fn race(
        &mut self,
        what: &str,
        forms: Vec<(Form, Vec<Step>)>,
    ) -> Result<Option<Form>, BackendError> {
        let mut runs = 1;
        if let Some((_, steps)) = forms.first() {
            while self.seconds(steps, runs).await? < ROUND.as_secs_f64() && runs < MOST_RUNS {
                runs *= 2;
            }
        }
        let mut best = vec![f64::INFINITY; forms.len()];
        for _ in 0..ROUNDS {
            for ((_, steps), best) in forms.iter().zip(&mut best) {
                *best = best.min(self.seconds(steps, runs).await?);
            }
        }
        let mut fastest = None;
        for ((form, steps), took) in forms.iter().zip(best) {
            let each = took / (runs * steps.len().max(1)) as f64;
            log::debug!("{what}: {} takes {:.2} µs", form.name(), 1e6 * each);
            if fastest.is_none_or(|(_, least)| took < least) {
                fastest = Some((*form, took));
            }
        }
        Ok(fastest.map(|(form, _)| form))
    }

    fn steps(&mut self, candidates: &Candidates, form: Form) -> Result<Vec<Step>, BackendError> {
        let memory = &self.programs[candidates.program].memory;
        let mut steps = Vec::new();
        for product in &candidates.products {
            for call in product.calls_in(form, memory, &self.gpu.forms)? {
                steps.push(self.kernels.step(&mut self.gpu, call));
            }
        }
        self.gpu.check()?;
        Ok(steps)
    }

    /// Activations that the forms are compared with.
    fn fill(&mut self, candidates: &Candidates) -> Result<(), BackendError> {
        let Shape { rows, in_dim, .. } = candidates.shape;
        let memory = &self.programs[candidates.program].memory;
        let mut rng = Rng::new(1);
        for product in &candidates.products {
            match product.source() {
                LinearInput::Float(x) => {
                    let values: Vec<f32> = (0..rows * in_dim).map(|_| rng.normal()).collect();
                    let x = memory.slice(x)?;
                    self.gpu
                        .write(&x.buffer, x.offset, bytemuck::cast_slice(&values))?;
                }
                LinearInput::Int8 { codes, scales } => {
                    let stride = act_stride(in_dim);
                    let mut values = vec![0i8; rows * stride];
                    for row in values.chunks_exact_mut(stride) {
                        row[..in_dim].fill_with(|| (rng.below(255) as i16 - 127) as i8);
                    }
                    let codes = memory.slice(codes)?;
                    self.gpu
                        .write(&codes.buffer, codes.offset, bytemuck::cast_slice(&values))?;
                    let scales = memory.slice(scales)?;
                    let ones = vec![0.01f32; rows];
                    self.gpu
                        .write(&scales.buffer, scales.offset, bytemuck::cast_slice(&ones))?;
                }
            }
        }
        let run_params = RunParams {
            rows: rows as u32,
            ..RunParams::default()
        };
        self.gpu
            .queue
            .write_buffer(&self.run_params, 0, bytemuck::bytes_of(&run_params));
        self.gpu.check()
    }

    /// What `steps` leave as the last product.
    async fn result(
        &mut self,
        candidates: &Candidates,
        steps: &[Step],
    ) -> Result<Vec<u8>, BackendError> {
        let Some(last) = candidates.products.last() else {
            return Ok(Vec::new());
        };
        let (out, len) = last.last_out(&self.programs[candidates.program].memory)?;
        // The form before this one left the right results there.
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        encoder.clear_buffer(&out.buffer, out.offset, Some(out.size));
        self.gpu.queue.submit([encoder.finish()]);
        self.seconds(steps, 1).await?;
        Ok(self.fetch(&[(out, size_of::<f32>() * len)]).await?.concat())
    }

    /// How long some runs of `steps` take, one after another, from their recording to their end: a
    /// token's commands are recorded anew each time, before anything of it runs.
    pub(crate) async fn seconds(
        &mut self,
        steps: &[Step],
        runs: usize,
    ) -> Result<f64, BackendError> {
        let start = Instant::now();
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            for _ in 0..runs {
                steps.iter().for_each(|step| step.encode(&mut pass));
            }
        }
        self.gpu.queue.submit([encoder.finish()]);
        self.finished().await?;
        Ok(start.elapsed().as_secs_f64())
    }
}
