//! Products on cooperative matrices, which no software adapter has: the shaders as they are, with
//! plain code in place of what a subgroup does together. It reads the same places in workgroup
//! memory, between the same barriers.

use super::linear::{integers_are_exact, rows_beyond_are_left_alone};
use super::matmul::{follow_f64_in_f16, rounding_device};
use super::*;
use crate::bench::checks::cases;
use crate::gpu::cooperative::{Matrices, Side, buffers};
use crate::gpu::device::f16_products;
use crate::gpu::forms::Form;
use crate::gpu::precision::Product;
use ternary_shaders as shaders;

/// An operand is where it lies: what is there does not change until it has been multiplied. Of
/// sums, every invocation of a subgroup has its part.
const PLAIN: &str = "
struct PlainOperand {
  at: u32,
  stride: u32,
}

struct PlainSum {
  values: array<f32, 8>,
}

var<private> plain_lane: u32;

fn plain_load(own: u32) -> PlainSum {
  var sum: PlainSum;
  var part = 0u;
  for (var i = plain_lane; i < MATRIX; i += LANES / 4u) {
    sum.values[part] = results[own + i];
    part += 1u;
  }
  return sum;
}

fn plain_store(sum: PlainSum, own: u32) {
  var values = sum.values;
  var part = 0u;
  for (var i = plain_lane; i < MATRIX; i += LANES / 4u) {
    results[own + i] = values[part];
    part += 1u;
  }
}

fn plain_multiply(a: PlainOperand, b: PlainOperand, sum: PlainSum) -> PlainSum {
  var values = sum.values;
  var part = 0u;
  for (var i = plain_lane; i < MATRIX; i += LANES / 4u) {
    let row = (a.at + i / SIDE * a.stride) * CELL;
    let column = (b.at + i % SIDE * b.stride) * CELL;
    var total = values[part];
    for (var k = 0u; k < SIDE; k += 1u) {
      total += f32(LEFT(row + k)) * f32(RIGHT(column + k));
    }
    values[part] = total;
    part += 1u;
  }
  return PlainSum(values);
}
";

/// A shader's source, in plain code where it uses cooperative matrices.
pub(crate) fn emulated(source: &str) -> String {
    if !source.contains("enable wgpu_cooperative_matrix;") {
        return source.to_owned();
    }
    let scalars = source.contains("alias Cell = f16;");
    let element = |name: &str| match scalars {
        true => format!("{name}[row_or_column]"),
        false => format!("{name}[(row_or_column) / 4u][(row_or_column) % 4u]"),
    };
    let mut plain = PLAIN.to_owned();
    for (call, name, at) in [
        ("LEFT", "left", "row + k"),
        ("RIGHT", "right", "column + k"),
    ] {
        let place = element(name).replace("row_or_column", at);
        plain = plain.replace(&format!("{call}({at})"), &place);
    }
    let mut text = source.to_owned();
    for (from, to) in [
        ("enable wgpu_cooperative_matrix;", ""),
        ("coop_mat16x16<f16,A>", "PlainOperand"),
        ("coop_mat16x16<f16,B>", "PlainOperand"),
        ("coop_mat16x16<f32,C>", "PlainSum"),
        ("coop_mat8x8<f16,A>", "PlainOperand"),
        ("coop_mat8x8<f16,B>", "PlainOperand"),
        ("coop_mat8x8<f32,C>", "PlainSum"),
        ("coopLoadT<Left>(&left[", "PlainOperand(("),
        ("coopLoad<Right>(&right[", "PlainOperand(("),
        ("],ROW_STRIDE / CELL)", "),ROW_STRIDE / CELL)"),
        ("coopLoadT<Sum>(&results[own],SIDE)", "plain_load(own)"),
        (",&results[own],SIDE)", ",own)"),
        ("coopStoreT(", "plain_store("),
        ("coopMultiplyAdd(", "plain_multiply("),
        (
            "let share = lane /",
            "plain_lane = lane % (LANES / 4u);let share = lane /",
        ),
    ] {
        text = text.replace(from, to);
    }
    assert!(!text.contains("coop"), "{text}");
    text + &plain
}

/// Matrices, and the workgroup memory that there is: both sizes of subgroups, one and two steps of
/// operands in memory.
const DEVICES: [(Side, usize, usize); 3] = [
    (Side::Sixteen, 32, 48 << 10),
    (Side::Sixteen, 64, 32 << 10),
    (Side::Eight, 32, 16 << 10),
];

/// Run `test` on devices whose cooperative matrices are plain code.
pub(super) fn on_emulated(test: impl Fn(&mut GpuBackend)) {
    with_gpu(|_| {
        for (side, subgroup, bytes) in DEVICES {
            let Some(mut gpu) = rounding_device() else {
                return;
            };
            let matrices = Some(Matrices { side, subgroup });
            gpu.gpu.emulates = true;
            gpu.gpu.products = f16_products(matrices);
            gpu.gpu.forms.cooperative = matrices;
            gpu.gpu.forms.workgroup_bytes = bytes;
            pollster::block_on(gpu.choose_product()).unwrap();
            assert_eq!(gpu.product, Product::Cooperative(side));
            test(&mut gpu);
        }
    });
}

#[test]
fn cooperative_products_of_training_follow_f64() {
    let sizes = [
        ([65, 70, 1100], true, false),
        ([72, 132, 532], false, false),
        ([132, 68, 20], true, false),
        ([68, 260, 36], false, true),
    ];
    on_emulated(|gpu| follow_f64_in_f16(gpu, &sizes));
}

#[test]
fn cooperative_integer_products_are_exact() {
    on_emulated(|gpu| {
        let names = gpu.gpu.forms.names();
        let has = |form: Form| names.contains(&form.name());
        assert!(has(Form::TilesCooperative));
        let sixteen = gpu.product == Product::Cooperative(Side::Sixteen);
        assert_eq!(has(Form::TilesCooperativeWide), sixteen);
        integers_are_exact(gpu, &[(131, 257)], 70);
        rows_beyond_are_left_alone(gpu, 140);
    });
}

#[test]
fn the_suite_compares_every_cooperative_form() {
    on_emulated(|gpu| {
        let cases = cases(&[3]);
        let training = [Form::TrainingTiles, Form::TrainingWideTiles].map(Form::name);
        let names = gpu.gpu.forms.names();
        let cooperative = names.iter().filter(|n| n.contains("cooperative"));
        for name in cooperative.chain(&training) {
            let found = cases.iter().any(|case| case.forms(gpu).contains(name));
            assert!(found, "{name}");
        }
    });
}

#[test]
fn matrices_are_those_that_shaders_are_written_for() {
    use wgpu::CooperativeScalarType::{F16, F32};
    let offer =
        |[m_size, n_size, k_size]: [u32; 3], ab_type, cr_type| wgpu::CooperativeMatrixProperties {
            m_size,
            n_size,
            k_size,
            ab_type,
            cr_type,
            saturating_accumulation: false,
        };
    let info = |backend, sizes| {
        let mut info = wgpu::AdapterInfo::new(wgpu::DeviceType::Other, backend);
        (info.subgroup_min_size, info.subgroup_max_size) = sizes;
        info
    };
    let vulkan = |sizes| info(wgpu::Backend::Vulkan, sizes);
    let metal = info(wgpu::Backend::Metal, (4, 64));
    let found = |side, subgroup| Some(Matrices { side, subgroup });
    let of = Matrices::of;
    let [eight, sixteen] = [[8; 3], [16; 3]].map(|sides| offer(sides, F16, F32));
    assert_eq!(
        of(&vulkan((32, 32)), &[eight, sixteen]),
        found(Side::Sixteen, 32)
    );
    assert_eq!(of(&vulkan((32, 64)), &[sixteen]), found(Side::Sixteen, 64));
    assert_eq!(
        of(&metal, &[offer([8; 3], F32, F32), eight]),
        found(Side::Eight, 32)
    );
    // Sums in f16 are not exact, matrices that are not square have no shader.
    let others = [offer([16; 3], F16, F16), offer([8, 16, 16], F16, F32)];
    assert_eq!(of(&vulkan((32, 32)), &others), None);
    assert_eq!(of(&vulkan((8, 16)), &[sixteen]), None);
}

#[test]
fn a_step_is_kept_twice_where_memory_allows() {
    let narrow = &shaders::MATMUL_COOPERATIVE;
    let wide = &shaders::MATMUL_COOPERATIVE_WIDE;
    // WebGPU's default, AMD's and Apple's, NVIDIA's.
    let of = |shader| [16, 32, 48].map(|kibibytes| buffers(shader, kibibytes << 10));
    assert_eq!(of(narrow), [1, 2, 2]);
    assert_eq!(of(wide), [0, 1, 2]);
    assert_eq!(of(&shaders::MATMUL_COOPERATIVE_8), [1, 2, 2]);
}
