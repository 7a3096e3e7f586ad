//! Forms of products chosen on the device.

use super::*;
use crate::ProgramId;
use crate::gpu::forms::{Form, Heads, Shape};
use ternary_core::config::CachePrecision;
use ternary_model::program::{LinearInput, Program, Scores, Weight};

const ROWS: usize = 2;
const DIM: usize = 257;

/// Three products of one shape in a row, as layers have them, from floats to floats.
struct Layers {
    program: Program,
    x: BufferId,
    out: BufferId,
    weights: Vec<(String, Vec<u8>)>,
    shape: Shape,
}

fn layers(noise: &mut Noise) -> Layers {
    let mut recorder = Recorder::new();
    let x = recorder.io(Elem::F32, ROWS * DIM);
    let mut weights = Vec::new();
    let mut input = x;
    let mut shape = None;
    for layer in 0..3 {
        let mut tiles = TileWriter::new(QuantMode::Ternary, DIM, DIM);
        (0..DIM).for_each(|r| tiles.row(r, &noise.codes(QuantMode::Ternary, DIM)));
        let codes = recorder.scratch(Elem::I8, ROWS * act_stride(DIM));
        let scales = recorder.f32(ROWS);
        recorder.push(Op::QuantAct {
            x: input,
            norm: None,
            codes,
            scales,
            rows: ROWS,
            dim: DIM,
        });
        let (elem, len) = ternary_core::quant::tile::data_len(QuantMode::Ternary, DIM, DIM);
        let names = [format!("w{layer}"), format!("s{layer}")];
        let weight = Weight {
            mode: QuantMode::Ternary,
            data: recorder.shared(&names[0], elem, len),
            scales: Some(recorder.shared(&names[1], Elem::F32, DIM)),
            out_dim: DIM,
            in_dim: DIM,
            group: DIM,
        };
        let [tiles_name, scales_name] = names;
        weights.push((tiles_name, tiles.finish()));
        let values = noise.floats(DIM, 1.0);
        weights.push((scales_name, bytemuck::cast_slice(&values).to_vec()));
        let out = match layer {
            2 => recorder.io(Elem::F32, ROWS * DIM),
            _ => recorder.f32(ROWS * DIM),
        };
        let int8 = LinearInput::Int8 { codes, scales };
        shape = Some(Shape {
            raw: true,
            ..Shape::of(int8, &weight, ROWS)
        });
        recorder.push(Op::Linear {
            input: int8,
            weight,
            out,
            rows: ROWS,
        });
        input = out;
    }
    Layers {
        program: recorder.finish("layers"),
        x,
        out: input,
        weights,
        shape: shape.unwrap(),
    }
}

fn is_open(gpu: &GpuBackend, shape: &Shape) -> bool {
    let forms = &gpu.gpu.forms;
    forms.is_open(&shape.to_string(), &forms.offered(shape))
}

/// Results of the layers before and after the choice, and what was chosen with a form that is wrong
/// among those offered.
fn tuned(gpu: &mut GpuBackend, wrong: Option<Form>) -> (Vec<Vec<u8>>, Vec<Vec<u8>>, Form) {
    gpu.clear();
    let mut noise = Noise(1);
    let Layers {
        program,
        x,
        out,
        weights,
        shape,
    } = layers(&mut noise);
    for (name, bytes) in &weights {
        gpu.upload(name, bytes).unwrap();
    }
    let id = gpu.prepare(program).unwrap();
    let input = noise.floats(ROWS * DIM, 1.0);
    let run = |gpu: &mut GpuBackend| {
        gpu.write(id, x, bytemuck::cast_slice(&input)).unwrap();
        gpu.run(id, &rows(ROWS)).unwrap();
        pollster::block_on(gpu.read(id, &[out])).unwrap()
    };
    let before = run(gpu);
    assert!(is_open(gpu, &shape));
    gpu.gpu.forms.planted = wrong;
    pollster::block_on(gpu.choose_forms()).unwrap();
    assert!(!is_open(gpu, &shape));
    (before, run(gpu), gpu.gpu.forms.of(&shape))
}

#[test]
fn a_choice_changes_no_result_and_is_kept_for_the_next_process() {
    with_gpu(|_| {
        let folder = tempfile::tempdir().unwrap();
        let open = || {
            let options = BackendOptions {
                cache_folder: Some(folder.path().to_owned()),
                ..BackendOptions::default()
            };
            pollster::block_on(GpuBackend::new(&options)).unwrap()
        };
        let (before, after, form) = tuned(&mut open(), None);
        assert_eq!(before, after);
        let gpu = open();
        let shape = layers(&mut Noise(1)).shape;
        assert!(!is_open(&gpu, &shape));
        assert_eq!(gpu.gpu.forms.of(&shape), form);
    });
}

#[test]
fn a_form_with_other_results_is_not_chosen() {
    with_gpu(|_| {
        for planted in [
            Form::Subgroup,
            Form::WorkgroupFloat,
            Form::SubgroupFloat,
            Form::FusedWorkgroup,
            Form::FusedSubgroup,
            Form::FusedWorkgroupFloat,
            Form::FusedSubgroupFloat,
        ] {
            // Fresh, so that nothing is chosen yet.
            let mut gpu = pollster::block_on(GpuBackend::new(&BackendOptions::default())).unwrap();
            // It takes no time at all: it would be chosen if it were not compared.
            let (before, after, form) = tuned(&mut gpu, Some(planted));
            assert_ne!(form, planted);
            assert_eq!(before, after);
        }
    });
}

#[test]
fn attention_is_compared_and_timed_on_caches_of_its_own() {
    with_gpu(|gpu| {
        if !gpu.adapter().forms.contains(&"attention-subgroup") {
            return;
        }
        for planted in [None, Some(Form::AttentionSubgroup)] {
            let mut gpu = pollster::block_on(GpuBackend::new(&BackendOptions::default())).unwrap();
            let mut noise = Noise(3);
            let mut case = Case::default();
            // A model's cache is empty when its form is chosen.
            let mut cache = |name| case.recorder.growing(name, Elem::F16, 300 * 2 * 16);
            let [cache_k, cache_v] = ["k", "v"].map(&mut cache);
            let (q, out) = (case.f32(&noise.floats(4 * 16, 1.0)), case.out(4 * 16));
            let op = Op::CachedAttention {
                places: None,
                q,
                cache_k,
                cache_v,
                out,
                rows: 1,
                heads: 4,
                kv_heads: 2,
                head_dim: 16,
                max_seq: 300,
                precision: CachePrecision::F16,
                scores: Scores::plain(16),
            };
            let heads = Heads::of(&op).unwrap();
            case.recorder.push(op);
            let id = gpu.prepare(case.recorder.finish("attention")).unwrap();
            gpu.gpu.forms.planted = planted;
            pollster::block_on(gpu.choose_forms()).unwrap();
            gpu.gpu.forms.planted = None;
            let forms = &gpu.gpu.forms;
            assert!(!forms.is_open(&heads.to_string(), &forms.of_attention()));
            assert!(planted.is_none_or(|planted| forms.attention(&heads) != planted));
            assert_eq!(gpu.programs.len(), 1);

            // What is chosen computes what was computed before.
            let sizes = ["k", "v"].map(|name| (name.to_owned(), 300 * 2 * 16 * 2));
            pollster::block_on(gpu.grow(&sizes)).unwrap();
            for (id_of, bytes) in &case.contents {
                gpu.write(id, *id_of, bytes).unwrap();
            }
            let halves: Vec<u8> = (0..sizes[0].1)
                .map(|_| (noise.next() & 0xbf) as u8)
                .collect();
            let mut results = Vec::new();
            for form in ["", "attention-workgroup", "attention-subgroup"] {
                gpu.force_forms(form).unwrap();
                for (name, _) in &sizes {
                    gpu.upload(name, &halves).unwrap();
                }
                gpu.run(id, &at(250, 1)).unwrap();
                results.push(pollster::block_on(gpu.read(id, &[out])).unwrap());
            }
            assert!(results[0][0].iter().any(|byte| *byte != 0));
            assert!(results.iter().all(|result| *result == results[0]));
        }
    });
}

/// A matrix and the norm or quantization before it.
struct Prepared {
    mode: QuantMode,
    int8: bool,
    norm: bool,
    /// Of activations, and how many a run has.
    rows: usize,
    active: usize,
    dim: usize,
}

impl Prepared {
    /// Results in the form `name`, and its dispatches.
    fn run(&self, gpu: &mut GpuBackend, x: &[f32], name: &str) -> (Vec<u8>, usize) {
        const OUT: usize = 70;
        let Prepared {
            mode,
            int8,
            norm,
            rows: rows_n,
            active,
            dim,
        } = *self;
        let mut noise = Noise(dim as u64);
        let mut case = Case::default();
        let (x, norm_weight) = (case.f32(x), case.f32(&noise.floats(dim, 1.0)));
        let input = if int8 {
            let codes = case.recorder.scratch(Elem::I8, rows_n * act_stride(dim));
            let scales = case.recorder.f32(rows_n);
            case.recorder.push(Op::QuantAct {
                x,
                norm: norm.then_some((norm_weight, 1e-5)),
                codes,
                scales,
                rows: rows_n,
                dim,
            });
            LinearInput::Int8 { codes, scales }
        } else {
            let out = case.recorder.f32(rows_n * dim);
            case.recorder.push(Op::RmsNorm {
                x,
                weight: norm_weight,
                out,
                rstd: None,
                rows: rows_n,
                groups: 1,
                dim,
                eps: 1e-5,
            });
            LinearInput::Float(out)
        };
        let (data, scales) = if mode.is_quantized() {
            let codes: Vec<_> = (0..OUT).map(|_| noise.codes(mode, dim)).collect();
            let scales = case.f32(&noise.floats(OUT, 1.0));
            (case.tiles(mode, &codes), Some(scales))
        } else {
            let floats: Vec<_> = (0..OUT).map(|_| noise.floats(dim, 1.0)).collect();
            (case.floats(mode, &floats), None)
        };
        let out = case.out(rows_n * OUT);
        let op = Op::Linear {
            input,
            weight: Weight {
                mode,
                data,
                scales,
                out_dim: OUT,
                in_dim: dim,
                group: dim,
            },
            out,
            rows: rows_n,
        };
        case.recorder.push(op);
        gpu.clear();
        gpu.force_forms(name).unwrap();
        let id = gpu.prepare(case.recorder.finish("prepared")).unwrap();
        for (buffer, bytes) in &case.contents {
            gpu.write(id, *buffer, bytes).unwrap();
        }
        gpu.run(id, &rows(active)).unwrap();
        let read = pollster::block_on(gpu.read(id, &[out])).unwrap();
        gpu.force_forms("").unwrap();
        (read.concat(), gpu.dispatches(id).unwrap())
    }
}

#[test]
fn rows_quantized_on_the_way_give_the_same_bits() {
    with_gpu(|gpu| {
        let forms: Vec<_> = gpu.adapter().forms;
        // The suite's checks have every mode and form.
        for (mode, int8, norm) in [
            (QuantMode::Ternary, true, true),
            (QuantMode::Binary, true, false),
            (QuantMode::EightBit, true, true),
            (QuantMode::F16, false, true),
        ] {
            for (rows_n, active, dim) in [(1, 1, 1), (1, 1, 640), (8, 5, 257)] {
                let prepared = Prepared {
                    mode,
                    int8,
                    norm,
                    rows: rows_n,
                    active,
                    dim,
                };
                let mut noise = Noise(7);
                let mut x = noise.floats(rows_n * dim, 4.0);
                // One row of zeros, and one with a value far from the others.
                x[(rows_n / 2) * dim..][..dim].fill(0.0);
                x[0] = 1e4;
                let what = format!("{rows_n} x {dim} {mode}, int8 {int8}, norm {norm}");
                let (want, apart) = prepared.run(gpu, &x, "workgroup");
                assert_eq!(apart, 2, "{what}");
                for name in forms.iter().filter(|name| name.starts_with("fused")) {
                    if name.ends_with("float") {
                        continue;
                    }
                    let (got, dispatches) = prepared.run(gpu, &x, name);
                    assert_eq!(dispatches, 1, "{what}: {name}");
                    let bytes = active * want.len() / rows_n;
                    assert!(got[..bytes] == want[..bytes], "{what}: {name}");
                }
            }
        }
    });
}

/// Workgroups that normalize for themselves would see what others have added already.
#[test]
fn a_product_that_changes_its_own_source_is_not_fused() {
    on_both(|device| {
        let dim = 64;
        let mut case = Case::default();
        // Codes as they are: exact on every device.
        let x = case.f32(&vec![127.0; dim]);
        let codes = case.recorder.scratch(Elem::I8, act_stride(dim));
        let (scales, branch) = (case.recorder.f32(1), case.recorder.f32(dim));
        case.recorder.push(Op::QuantAct {
            x,
            norm: None,
            codes,
            scales,
            rows: 1,
            dim,
        });
        let weight = Weight {
            mode: QuantMode::Ternary,
            data: case.tiles(QuantMode::Ternary, &vec![vec![1; dim]; dim]),
            scales: Some(case.f32(&vec![1.0; dim])),
            out_dim: dim,
            in_dim: dim,
            group: dim,
        };
        case.recorder.push(Op::Linear {
            input: LinearInput::Int8 { codes, scales },
            weight,
            out: branch,
            rows: 1,
        });
        let add = Op::Residual {
            x,
            branch,
            out: x,
            scale: 1.0,
            rows: 1,
            dim,
        };
        assert_eq!(case.run(device, add, &rows(1), x), [127.0 * 65.0; 64]);
    });
}

/// Matrices of `dims` rows over the same input, shared by name, each with something that reads its
/// result; the ids of their inputs and results.
fn siblings(
    dims: &[usize],
    mode: QuantMode,
    rows: usize,
) -> (Program, [BufferId; 2], Vec<BufferId>) {
    let mut recorder = Recorder::new();
    let codes = recorder.io(Elem::I8, rows * act_stride(DIM));
    let scales = recorder.io(Elem::F32, rows);
    let outs: Vec<_> = dims.iter().map(|dim| recorder.f32(rows * dim)).collect();
    for (i, (dim, out)) in dims.iter().zip(&outs).enumerate() {
        let (elem, len) = ternary_core::quant::tile::data_len(mode, *dim, DIM);
        let data = recorder.shared(&format!("w{i}"), elem, len);
        let own_scales = recorder.shared(&format!("s{i}"), Elem::F32, *dim);
        recorder.push(Op::Linear {
            input: LinearInput::Int8 { codes, scales },
            weight: Weight {
                mode,
                data,
                scales: Some(own_scales),
                out_dim: *dim,
                in_dim: DIM,
                group: DIM,
            },
            out: *out,
            rows,
        });
    }
    let results = dims.iter().zip(&outs).map(|(dim, out)| {
        let result = recorder.io(Elem::F32, rows * dim);
        recorder.push(Op::Residual {
            x: result,
            branch: *out,
            out: result,
            scale: 0.5,
            rows,
            dim: *dim,
        });
        result
    });
    let results = results.collect();
    (recorder.finish("siblings"), [codes, scales], results)
}

#[test]
fn matrices_over_one_input_are_one_product_with_the_same_results() {
    with_gpu(|gpu| {
        // The last has rows that no binding can begin behind.
        for (dims, dispatches) in [(&[64, 128][..], 3), (&[128, 64, 64], 4), (&[64, 65, 64], 6)] {
            for mode in [QuantMode::Ternary, QuantMode::EightBit] {
                for rows_n in [1, 4, 65] {
                    let mut noise = Noise(rows_n as u64);
                    let weights: Vec<_> = dims
                        .iter()
                        .enumerate()
                        .flat_map(|(i, dim)| {
                            let mut tiles = TileWriter::new(mode, *dim, DIM);
                            (0..*dim).for_each(|r| tiles.row(r, &noise.codes(mode, DIM)));
                            let scales = noise.floats(*dim, 1.0);
                            let scales = bytemuck::cast_slice(&scales).to_vec();
                            [(format!("w{i}"), tiles.finish()), (format!("s{i}"), scales)]
                        })
                        .collect();
                    let mut codes = vec![0i8; rows_n * act_stride(DIM)];
                    for row in codes.chunks_exact_mut(act_stride(DIM)) {
                        row[..DIM].copy_from_slice(&noise.codes(QuantMode::EightBit, DIM));
                    }
                    let by = noise.floats(rows_n, 1.0);
                    let run = |backend: &mut dyn Backend| -> (ProgramId, Vec<Vec<u8>>) {
                        backend.clear();
                        for (name, bytes) in &weights {
                            backend.upload(name, bytes).unwrap();
                        }
                        let (program, inputs, results) = siblings(dims, mode, rows_n);
                        let id = backend.prepare(program).unwrap();
                        backend
                            .write(id, inputs[0], bytemuck::cast_slice(&codes))
                            .unwrap();
                        backend
                            .write(id, inputs[1], bytemuck::cast_slice(&by))
                            .unwrap();
                        backend.run(id, &rows(rows_n)).unwrap();
                        (id, pollster::block_on(backend.read(id, &results)).unwrap())
                    };
                    let (_, want) = run(&mut CpuBackend::new(1));
                    let (id, got) = run(gpu);
                    let what = format!("{dims:?} {mode}, {rows_n} rows");
                    // A row count of 4 or more lets even odd matrices begin at a binding's.
                    if rows_n == 1 || dispatches < 6 {
                        assert_eq!(gpu.dispatches(id).unwrap(), dispatches, "{what}");
                    }
                    assert!(got == want, "{what}");
                    // The matrices keep their names, sizes and contents.
                    for (name, bytes) in &weights {
                        let kept = pollster::block_on(gpu.download(name)).unwrap();
                        assert!(kept == *bytes, "{what}: {name}");
                    }
                    // A second program finds them where they are now.
                    let second = gpu.prepare(siblings(dims, mode, 1).0).unwrap();
                    if dispatches < 6 {
                        assert_eq!(gpu.dispatches(second).unwrap(), dispatches, "{what}");
                    }
                }
            }
        }
    });
}
