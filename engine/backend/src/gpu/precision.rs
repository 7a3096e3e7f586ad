//! How products of training are computed: in f32, with operands rounded to f16, or on cooperative
//! matrices (tensor cores).

use super::GpuBackend;
use super::cooperative::Side;
use crate::Backend;
use crate::BackendError;
use crate::elements;
use ternary_core::rng::Rng;
use ternary_model::program::{Elem, Op, Recorder, RunParams};

/// The kernel of [`Op::MatMul`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Product {
    F32,
    /// Operands in f16, sums in f32.
    F16,
    /// The same on cooperative matrices.
    Cooperative(Side),
}

impl Product {
    pub fn name(self) -> &'static str {
        match self {
            Product::F32 => "f32",
            Product::F16 => "f16",
            Product::Cooperative(_) => "cooperative",
        }
    }
}

/// Error of products of f16 operands, relative to the mean size of a result: each operand is off by
/// up to 2⁻¹¹, and the sums compared are five deviations wide.
pub(crate) const F16_PRODUCTS: f64 = 5e-3;

impl GpuBackend {
    /// Use the fastest f16 product that agrees with the f32 one; f32 where there is none.
    pub(crate) async fn choose_product(&mut self) -> Result<(), BackendError> {
        let want = self.probe(Product::F32).await?;
        let mean = want.iter().map(|w| f64::from(w.abs())).sum::<f64>() / want.len() as f64;
        for product in self.gpu.products.clone() {
            let got = self.probe(product).await;
            let agrees = got.as_ref().is_ok_and(|got| {
                let close = |(g, w): (&f32, &f32)| f64::from((g - w).abs()) <= F16_PRODUCTS * mean;
                got.iter().zip(&want).all(close)
            });
            if agrees {
                self.product = product;
                self.gpu.info.name.push_str(match product {
                    Product::Cooperative(_) => ", f16 products on cooperative matrices",
                    _ => ", f16 products",
                });
                return Ok(());
            }
            log::warn!("{product:?} products disagree with f32 ones on this GPU and are not used");
        }
        self.product = Product::F32;
        log::warn!("this GPU has no usable f16: products are computed in f32");
        Ok(())
    }

    /// A small ragged product, in parts.
    async fn probe(&mut self, product: Product) -> Result<Vec<f32>, BackendError> {
        let [m, n, k] = [70, 85, 600];
        self.product = product;
        let mut recorder = Recorder::new();
        let mut rng = Rng::new(1);
        let mut operand = |len| {
            let values: Vec<f32> = (0..len).map(|_| rng.normal()).collect();
            (recorder.io(Elem::F32, len), values)
        };
        let operands = [operand(m * k), operand(k * n)];
        let out = recorder.io(Elem::F32, m * n);
        recorder.push(Op::MatMul {
            a: operands[0].0,
            b: operands[1].0,
            out,
            m,
            n,
            k,
            trans_a: false,
            trans_b: true,
            accumulate: false,
        });
        let program = self.prepare(recorder.finish("probe"))?;
        for (id, values) in &operands {
            self.write(program, *id, bytemuck::cast_slice(values))?;
        }
        self.run(program, &RunParams::default())?;
        let read = self.read(program, &[out]).await?;
        self.clear();
        Ok(elements(&read[0]))
    }
}
