//! Products on cooperative matrices, which no software adapter has: the shaders as they are, with
//! plain code in place of what a subgroup does together. It reads the same places in workgroup
//! memory, between the same barriers.

use super::linear::{integers_are_exact, rows_beyond_are_left_alone};
use super::matmul::{HALVES, follow_f64_in_f16, rounding_device};
use super::*;
use crate::bench::checks::cases;
use crate::gpu::cooperative::{Matrices, Side, buffers};
use crate::gpu::device::f16_products;
use crate::gpu::forms::Form;
use crate::gpu::precision::Product;
use ternary_shaders as shaders;

/// An operand is where it lies: what is there does not change until it has been multiplied. Of
/// sums, every invocation of a subgroup has its part.
///
/// lavapipe takes seconds to compile this for every product. It must not know how long loops are,
/// since it would unroll them all, and it leaves them after 65,535 iterations in all.
const PLAIN: &str = "
struct PlainOperand {
  at: u32,
  stride: u32,
}

struct PlainSum {
  first: u32,
}

// What an invocation has of 16 matrices, eight sums at most of each.
var<private> plain_sums: array<f32, 128>;
var<private> plain_lane: u32;
// 1, as nobody knows before it runs.
var<private> plain_one: u32;

fn plain_load(own: u32) -> PlainSum {
  for (var first = 0u; first < 128u * plain_one; first += 8u) {
    var at = first;
    for (var i = plain_lane; i < MATRIX * plain_one; i += LANES / 4u) {
      plain_sums[at] = results[own + i];
      at += 1u;
    }
  }
  return PlainSum(0u);
}

fn plain_store(sum: PlainSum, own: u32) {
  var at = sum.first;
  for (var i = plain_lane; i < MATRIX * plain_one; i += LANES / 4u) {
    results[own + i] = plain_sums[at];
    at += 1u;
  }
}

fn plain_multiply(a: PlainOperand, b: PlainOperand, sum: PlainSum) -> PlainSum {
  var at = sum.first;
  for (var i = plain_lane; i < MATRIX * plain_one; i += LANES / 4u) {
    let row = (a.at + i / SIDE * a.stride) * CELL;
    let column = (b.at + i % SIDE * b.stride) * CELL;
    var total = plain_sums[at];
    for (var k = 0u; k < SIDE * plain_one; k += 4u) {
      total += dot(LEFT, RIGHT);
    }
    plain_sums[at] = total;
    at += 1u;
  }
  return sum;
}
";

/// A shader's source, in plain code where it uses cooperative matrices.
fn emulated(source: &str) -> String {
    if !source.contains("enable wgpu_cooperative_matrix;") {
        return source.to_owned();
    }
    let scalars = source.contains("alias Cell = f16;");
    let quad = |operand: &str, at: &str| match scalars {
        true => {
            let elements = [0, 1, 2, 3].map(|i| format!("{operand}[{at} + {i}u]"));
            format!("vec4<f32>(vec4<f16>({}))", elements.join(", "))
        }
        false => format!("vec4<f32>({operand}[({at}) / 4u])"),
    };
    let plain = PLAIN
        .replace("LEFT", &quad("left", "row + k"))
        .replace("RIGHT", &quad("right", "column + k"));
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
            "let tile = own_tile(",
            "plain_one = min(grid.x,1u);let tile = own_tile(",
        ),
        (
            "let share = lane /",
            "plain_lane = lane % (LANES / 4u);let share = lane /",
        ),
    ] {
        text = text.replace(from, to);
    }
    for i in 0..16 {
        let (row, column) = (i / 4, i % 4);
        let from = format!("var c{row}{column} = zero;");
        assert!(text.contains(&from), "{text}");
        let to = format!("var c{row}{column} = PlainSum({}u);", 8 * i);
        text = text.replace(&from, &to);
    }
    assert!(!text.contains("coop"), "{text}");
    text + &plain
}

/// The same with `wrong` in place of a piece of its code.
fn faulty(source: &str, code: &str, wrong: &str) -> String {
    let text = emulated(source);
    assert!(text == source || text.contains(code), "{text}");
    text.replace(code, wrong)
}

/// Matrices, and the workgroup memory that there is: both sizes of subgroups, one and two steps of
/// operands in memory.
const DEVICES: [(Side, usize, usize); 3] = [
    (Side::Sixteen, 32, 48 << 10),
    (Side::Sixteen, 64, 32 << 10),
    (Side::Eight, 32, 16 << 10),
];

/// A device whose cooperative matrices are plain code; none if the adapter has no f16.
fn device(number: usize, rewrite: fn(&str) -> String) -> Option<GpuBackend> {
    let (side, subgroup, bytes) = DEVICES[number];
    let matrices = Some(Matrices { side, subgroup });
    let mut gpu = rounding_device()?;
    gpu.gpu.rewrite = Some(rewrite);
    gpu.gpu.products = f16_products(matrices);
    gpu.gpu.forms.cooperative = matrices;
    gpu.gpu.forms.workgroup_bytes = bytes;
    gpu.product = Product::Cooperative(side);
    Some(gpu)
}

/// Run `test` on each of [`DEVICES`], with its number.
fn on_emulated(test: impl Fn(&mut GpuBackend, usize)) {
    with_gpu(|_| {
        for number in 0..DEVICES.len() {
            if let Some(mut gpu) = device(number, emulated) {
                test(&mut gpu, number);
            }
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
    on_emulated(|gpu, number| {
        let product = gpu.product;
        pollster::block_on(gpu.choose_product()).unwrap();
        assert_eq!(gpu.product, product);
        // Each kind of operands on every device, and of every size on one.
        for (i, size) in sizes.into_iter().enumerate() {
            follow_f64_in_f16(gpu, size, &[HALVES[(i + number) % HALVES.len()]]);
        }
    });
}

#[test]
fn wrong_cooperative_products_are_not_used() {
    let faults: [fn(&str) -> String; 3] = [
        // Rows of a matrix that are too near.
        |source| {
            let code = "PlainOperand((b+NEXT),ROW_STRIDE / CELL)";
            faulty(source, code, "PlainOperand((b+NEXT),GEMM_STEP / CELL)")
        },
        // The step in memory that is being written.
        |source| {
            let wrong = "let a =(OPERAND - buffer+row";
            faulty(source, "let a =(buffer+row", wrong)
        },
        |source| {
            let code = "c10 = plain_multiply(a1,b0,c10)";
            faulty(source, code, "c10 = plain_multiply(a0,b1,c10)")
        },
    ];
    with_gpu(|_| {
        for (i, fault) in faults.into_iter().enumerate() {
            let Some(mut gpu) = device(0, fault) else {
                return;
            };
            pollster::block_on(gpu.choose_product()).unwrap();
            assert_eq!(gpu.product, Product::F16, "fault {i}");
        }
    });
}

#[test]
fn wrong_wide_cooperative_products_are_not_used() {
    with_gpu(|_| {
        let fault = |source: &str| {
            let code = "c23 = plain_multiply(a2,b3,c23)";
            faulty(source, code, "c23 = plain_multiply(a3,b2,c23)")
        };
        let Some(mut gpu) = device(0, fault) else {
            return;
        };
        let [m, n, k] = [132, 68, 20];
        let mut case = Case::default();
        let op = Op::MatMul {
            a: case.f32(&vec![1.0; m * k]),
            b: case.f32(&vec![1.0; k * n]),
            out: case.out(m * n),
            m,
            n,
            k,
            trans_a: false,
            trans_b: true,
            accumulate: false,
        };
        case.recorder.push(op);
        gpu.prepare(case.recorder.finish("product")).unwrap();
        pollster::block_on(gpu.choose_forms()).unwrap();
        let what = "cooperative product of 132 x 68 x 20, right transposed";
        let offered = [Form::TrainingTiles, Form::TrainingWideTiles];
        assert!(!gpu.gpu.forms.is_open(what, &offered));
        assert_eq!(gpu.gpu.forms.pick(what, &offered), Form::TrainingTiles);
    });
}

#[test]
fn cooperative_integer_products_are_exact() {
    on_emulated(|gpu, _| {
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
    on_emulated(|gpu, _| {
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
