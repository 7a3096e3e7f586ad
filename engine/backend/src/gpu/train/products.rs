//! Products of f32 matrices, in the forms of lib/gemm_tile.wgsl and lib/gemm_wide.wgsl or on
//! cooperative matrices.

use std::fmt;

use ternary_shaders::{self as shaders, Shader};

use super::super::forms::{Form, Forms};
use super::super::fuse::BINDING_ALIGNMENT;
use super::super::kernel::Call;
use super::super::lower::BUSY_WORKGROUPS;
use super::super::memory::Memory;
use super::super::precision::Product;
use super::{scaled_sum, workspace};
use crate::BackendError;
use ternary_model::program::{BufferId, Op};

/// Whether products have wide tiles and operands in f16. A page is without them: what it fetches to
/// train has a limit, and no card has shown yet what they bring.
pub(in super::super) const IN_FULL: bool = cfg!(not(target_arch = "wasm32"));

/// Parts are multiples of it long along k, and so of the steps of every form.
const SPLIT_STEP: usize = 32;
/// Of these, a part of a product has at least so many: joining the parts costs a read and a write
/// of each.
const MIN_SPLIT_STEPS: usize = 4;
/// Parts of a product at most.
const MAX_SPLITS: usize = 32;

/// Parts a product is computed in along k, and the length of each: few results of long sums would
/// leave most of a GPU idle. All forms are cut alike, so that their sums are.
fn splits([m, n, k]: [usize; 3]) -> (usize, usize) {
    let tile = shaders::MATMUL.constant("GEMM_TILE") as usize;
    let tiles = m.div_ceil(tile) * n.div_ceil(tile);
    let steps = k.div_ceil(SPLIT_STEP);
    let wanted = (BUSY_WORKGROUPS / tiles.max(1))
        .min(steps / MIN_SPLIT_STEPS)
        .clamp(1, MAX_SPLITS);
    let split = steps.div_ceil(wanted) * SPLIT_STEP;
    (k.div_ceil(split).max(1), split)
}

/// From the beginning of one of several matrices to that of the next: bindings could begin there.
pub(super) fn apart(len: usize) -> usize {
    len.next_multiple_of(BINDING_ALIGNMENT / size_of::<f32>())
}

/// Floats that a product needs between its dispatches.
pub(super) fn workspace_floats(size: [usize; 3]) -> usize {
    match splits(size).0 {
        1 => 0,
        parts => parts * apart(size[0] * size[1]),
    }
}

/// What a form of a product is chosen for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Multiplied {
    pub product: Product,
    /// m, n and k.
    pub size: [usize; 3],
    pub transposed: [bool; 2],
    /// Which operands are stored in f16.
    pub halves: [bool; 2],
}

impl Multiplied {
    /// None of another operation.
    pub fn of(op: &Op, product: Product, is_half: impl Fn(BufferId) -> bool) -> Option<Multiplied> {
        match *op {
            Op::MatMul {
                a,
                b,
                m,
                n,
                k,
                trans_a,
                trans_b,
                ..
            } => Some(Multiplied {
                product,
                size: [m, n, k],
                transposed: [trans_a, trans_b],
                halves: [a, b].map(is_half),
            }),
            _ => None,
        }
    }

    /// The forms that it can have, first the one that the others are compared with.
    pub fn offered(&self, device: &Forms) -> Vec<Form> {
        // One tile would do, or vectors of four would cross the ends of rows.
        let small = self.size[..2].iter().any(|side| *side <= 64);
        let ragged = self.size.iter().any(|side| !side.is_multiple_of(4));
        let mut forms = vec![Form::TrainingTiles];
        let wide = Form::TrainingWideTiles;
        let fits = match self.product {
            Product::Cooperative(_) => device.fits(self.shader(wide)),
            _ => true,
        };
        if IN_FULL && fits && !small && !ragged {
            forms.push(wide);
        }
        forms
    }

    pub fn shader(&self, form: Form) -> &'static Shader {
        let wide = IN_FULL && form == Form::TrainingWideTiles;
        let halves = self.halves.map(|half| IN_FULL && half);
        match (self.product, wide, halves) {
            (Product::F32, false, _) => &shaders::MATMUL,
            (Product::F32, true, _) => &shaders::MATMUL_WIDE,
            (Product::F16, false, [_, false]) => &shaders::MATMUL_F16,
            (Product::F16, false, [false, true]) => &shaders::MATMUL_F16_HALF_B,
            (Product::F16, false, [true, true]) => &shaders::MATMUL_F16_HALF,
            (Product::F16, true, [_, false]) => &shaders::MATMUL_F16_WIDE,
            (Product::F16, true, [false, true]) => &shaders::MATMUL_F16_WIDE_HALF_B,
            (Product::F16, true, [true, true]) => &shaders::MATMUL_F16_WIDE_HALF,
            // No browser has cooperative matrices, so that a page is without what uses them.
            #[cfg(target_arch = "wasm32")]
            (Product::Cooperative(_), ..) => &shaders::MATMUL_F16,
            #[cfg(not(target_arch = "wasm32"))]
            (Product::Cooperative(side), wide, halves) => side.matmul(wide, halves),
        }
    }
}

/// Also the name of a choice in the file.
impl fmt::Display for Multiplied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [m, n, k] = self.size;
        write!(f, "{} product of {m} x {n} x {k}", self.product.name())?;
        for (side, (transposed, half)) in ["left", "right"]
            .iter()
            .zip(self.transposed.iter().zip(self.halves))
        {
            if *transposed {
                write!(f, ", {side} transposed")?;
            }
            if half {
                write!(f, ", {side} in f16")?;
            }
        }
        Ok(())
    }
}

/// In the form that suits the device: `items` products alike, whose operands and results lie one
/// behind the other, each of a length as [`apart`] gives it.
pub(super) fn matmul(
    op: &Op,
    memory: &Memory,
    forms: &Forms,
    items: usize,
) -> Result<Vec<Call>, BackendError> {
    let (
        Some(multiplied),
        &Op::MatMul {
            a,
            b,
            out,
            m,
            n,
            k,
            trans_a,
            trans_b,
            accumulate,
        },
    ) = (
        Multiplied::of(op, memory.product, |id| memory.is_half(id)),
        op,
    )
    else {
        unreachable!("the caller matched a MatMul");
    };
    let form = match IN_FULL {
        true => forms.pick(&multiplied.to_string(), &multiplied.offered(forms)),
        false => Form::TrainingTiles,
    };
    #[cfg(test)]
    if forms.planted == Some(form) {
        return Ok(Vec::new());
    }
    let shader = multiplied.shader(form);
    let (parts, split) = splits([m, n, k]);
    let out = memory.bind(out)?;
    let len = match items {
        1 => m * n,
        items => items * apart(m * n),
    };
    let space = workspace(memory, parts * len);
    let tile = shader.constant("GEMM_TILE") as usize;
    let mut product = Call::new(shader)
        .bind("a", memory.bind(a)?)
        .bind("b", memory.bind(b)?)
        .bind(
            "out",
            if parts == 1 {
                out.clone()
            } else {
                space.clone()
            },
        )
        .size("M", m)
        .size("N", n)
        .size("K", k)
        .set("TRANS_A", trans_a)
        .set("TRANS_B", trans_b)
        .set("ACCUMULATE", accumulate && parts == 1)
        .size("SPLIT", split)
        .workgroups(m.div_ceil(tile) * n.div_ceil(tile))
        .depth(parts * items);
    if items > 1 {
        product = product
            .size("ITEMS", items)
            .size("ITEM_A", apart(m * k))
            .size("ITEM_B", apart(k * n))
            .size("ITEM_OUT", apart(m * n));
    }
    if memory.product != Product::F32 {
        // Forward products have their right operand transposed; in the others the left one is a
        // gradient.
        product = product.set("GRADIENT", memory.of_gradients && !trans_b);
    }
    if let (Product::Cooperative(_), Some(matrices)) = (memory.product, forms.cooperative) {
        product = matrices.prepare(product, shader, forms.workgroup_bytes);
    }
    if parts == 1 {
        return Ok(vec![product]);
    }
    Ok(vec![
        product,
        scaled_sum(space, parts, 1.0, out, len, accumulate),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::cooperative::Side;

    #[test]
    fn every_form_takes_whole_steps_of_a_part() {
        let products = [
            Product::F32,
            Product::F16,
            Product::Cooperative(Side::Sixteen),
            Product::Cooperative(Side::Eight),
        ];
        for product in products {
            for form in [Form::TrainingTiles, Form::TrainingWideTiles] {
                let multiplied = Multiplied {
                    product,
                    size: [128; 3],
                    transposed: [false; 2],
                    halves: [false; 2],
                };
                let step = multiplied.shader(form).constant("GEMM_STEP") as usize;
                assert_eq!(SPLIT_STEP % step, 0, "{product:?} {form:?}");
            }
        }
    }

    #[test]
    fn a_choice_is_for_one_kind_of_product() {
        let of = |size, transposed, halves| Multiplied {
            product: Product::F16,
            size,
            transposed,
            halves,
        };
        let kinds = [
            of([128, 256, 64], [false, true], [true, true]),
            of([128, 256, 64], [true, false], [true, true]),
            of([128, 256, 64], [false, true], [false, true]),
            of([256, 128, 64], [false, true], [true, true]),
            of([128, 256, 64], [false; 2], [false; 2]),
        ];
        for (i, kind) in kinds.iter().enumerate() {
            assert_eq!(kind.offered(&Forms::default()).len(), 2);
            for other in &kinds[..i] {
                assert_ne!(kind.to_string(), other.to_string());
            }
        }
        for size in [[64, 128, 128], [128, 130, 128], [128, 128, 1]] {
            let forms = of(size, [false; 2], [false; 2]).offered(&Forms::default());
            assert_eq!(forms, [Form::TrainingTiles], "{size:?}");
        }
    }
}
