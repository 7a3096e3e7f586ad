//! Cooperative matrices (tensor cores): those that shaders are written for, and what a device needs
//! for them. See lib/cooperative.wgsl.

#[cfg(not(target_arch = "wasm32"))]
use ternary_core::config::QuantMode;
#[cfg(not(target_arch = "wasm32"))]
use ternary_shaders as shaders;
use ternary_shaders::Shader;

use super::kernel::Call;

/// Subgroups of a workgroup that multiplies.
const SUBGROUPS: usize = 4;

/// Sides of the matrices, f16 operands and f32 sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Sixteen,
    Eight,
}

/// What an adapter multiplies, in subgroups of this size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Matrices {
    pub side: Side,
    pub subgroup: usize,
}

impl Matrices {
    /// Those of an adapter: 16 × 16 before 8 × 8.
    pub fn of(
        info: &wgpu::AdapterInfo,
        offered: &[wgpu::CooperativeMatrixProperties],
    ) -> Option<Matrices> {
        use wgpu::CooperativeScalarType::{F16, F32};
        // Metal says how small and large subgroups may be anywhere; those with matrices have 32.
        // Drivers that could take a smaller size take the largest for whole subgroups; if one
        // does not, two of them compute the same.
        let subgroup = match info.backend {
            wgpu::Backend::Metal => 32,
            _ => info.subgroup_max_size as usize,
        };
        let has = |side| {
            offered.iter().any(|p| {
                [p.m_size, p.n_size, p.k_size] == [side; 3] && (p.ab_type, p.cr_type) == (F16, F32)
            })
        };
        let side = [(Side::Sixteen, 16), (Side::Eight, 8)]
            .into_iter()
            .find_map(|(side, length)| has(length).then_some(side))?;
        [32, 64]
            .contains(&subgroup)
            .then_some(Matrices { side, subgroup })
    }

    /// A product of int8 codes.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn of_codes(self, mode: QuantMode, wide: bool) -> Option<&'static Shader> {
        use QuantMode::{Binary, Ternary};
        use Side::{Eight, Sixteen};
        Some(match (self.side, mode, wide) {
            (Sixteen, Ternary, false) => &shaders::INT8_GEMM_COOPERATIVE_TERNARY,
            (Sixteen, Binary, false) => &shaders::INT8_GEMM_COOPERATIVE_BINARY,
            (Sixteen, Ternary, true) => &shaders::INT8_GEMM_COOPERATIVE_WIDE_TERNARY,
            (Sixteen, Binary, true) => &shaders::INT8_GEMM_COOPERATIVE_WIDE_BINARY,
            (Eight, Ternary, false) => &shaders::INT8_GEMM_COOPERATIVE_8_TERNARY,
            (Eight, Binary, false) => &shaders::INT8_GEMM_COOPERATIVE_8_BINARY,
            _ => return None,
        })
    }

    /// Give a call what its shader has to know of the device.
    pub fn prepare(self, call: Call, shader: &Shader, workgroup_bytes: usize) -> Call {
        call.size("LANES", SUBGROUPS * self.subgroup)
            .size("BUFFERS", buffers(shader, workgroup_bytes))
    }
}

impl Side {
    /// A product of training.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn matmul(self, wide: bool, halves: [bool; 2]) -> &'static Shader {
        use Side::{Eight, Sixteen};
        match (self, wide, halves) {
            (Sixteen, false, [_, false]) => &shaders::MATMUL_COOPERATIVE,
            (Sixteen, false, [false, true]) => &shaders::MATMUL_COOPERATIVE_HALF_B,
            (Sixteen, false, [true, true]) => &shaders::MATMUL_COOPERATIVE_HALF,
            (Sixteen, true, [_, false]) => &shaders::MATMUL_COOPERATIVE_WIDE,
            (Sixteen, true, [false, true]) => &shaders::MATMUL_COOPERATIVE_WIDE_HALF_B,
            (Sixteen, true, [true, true]) => &shaders::MATMUL_COOPERATIVE_WIDE_HALF,
            (Eight, false, [_, false]) => &shaders::MATMUL_COOPERATIVE_8,
            (Eight, false, [false, true]) => &shaders::MATMUL_COOPERATIVE_8_HALF_B,
            (Eight, false, [true, true]) => &shaders::MATMUL_COOPERATIVE_8_HALF,
            (Eight, true, [_, false]) => &shaders::MATMUL_COOPERATIVE_8_VECTORS,
            (Eight, true, [false, true]) => &shaders::MATMUL_COOPERATIVE_8_VECTORS_HALF_B,
            (Eight, true, [true, true]) => &shaders::MATMUL_COOPERATIVE_8_VECTORS_HALF,
        }
    }
}

/// How many steps of the operands lie in workgroup memory at once: none where one does not fit.
pub(crate) fn buffers(shader: &Shader, workgroup_bytes: usize) -> usize {
    let constant = |name| shader.constant(name) as usize;
    let results = SUBGROUPS * constant("SIDE").pow(2) * size_of::<f32>();
    let operands = 2 * constant("GEMM_TILE") * constant("ROW_STRIDE") * size_of::<half::f16>();
    (workgroup_bytes.saturating_sub(results) / operands).min(2)
}
