//! Which operands of a program's matrix products are quantised: products of codes cost a matrix unit less and lose nothing.

use std::collections::HashMap;

use crate::config::QuantMode;
use crate::program::{Knobs, Op, Program};
use crate::quant::is_latent;

/// A buffer whose rows are codes −levels ..= levels times a scale that is the largest of them: scale = max|row| / levels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lattice {
    pub levels: f32,
    /// One scale for all rows.
    pub whole: bool,
    /// Only while the quantiser is hard: no annealing, no Arenas.
    latent: bool,
}

impl Lattice {
    /// What an operation writes as codes times scales, if it does.
    fn of(op: &Op) -> Option<Lattice> {
        match op {
            Op::FakeQuantAct { .. } => Some(Lattice {
                levels: 127.0,
                whole: false,
                latent: false,
            }),
            Op::FakeQuantWeight { quant, cols, .. } if quant.group == 0 || quant.group == *cols => {
                let levels = match quant.mode {
                    QuantMode::F16 => return None,
                    QuantMode::EightBit => 127.0,
                    QuantMode::Ternary | QuantMode::Binary => 1.0,
                };
                Some(Lattice {
                    levels,
                    whole: quant.group == 0,
                    latent: is_latent(quant.mode),
                })
            }
            _ => None,
        }
    }

    /// One that always holds.
    #[cfg(test)]
    pub fn hard(levels: f32, whole: bool) -> Lattice {
        Lattice {
            levels,
            whole,
            latent: false,
        }
    }

    /// Whether the buffer is what this says in a run with these knobs.
    pub fn holds(&self, knobs: &Knobs) -> bool {
        !self.latent || (knobs.anneal == 0.0 && knobs.arenas == 0.0)
    }
}

/// For every operation, what the operands `a` and `b` of a matrix product are.
pub fn operands(program: &Program) -> Vec<[Option<Lattice>; 2]> {
    let mut known = HashMap::new();
    let find = |op: &Op| {
        let found = match op {
            Op::MatMul { a, b, .. } => [*a, *b].map(|id| known.get(&id).copied()),
            _ => [None; 2],
        };
        let lattice = Lattice::of(op);
        for id in op.access().writes {
            match lattice {
                Some(l) => known.insert(id, l),
                None => known.remove(&id),
            };
        }
        found
    };
    program.ops.iter().map(find).collect()
}
