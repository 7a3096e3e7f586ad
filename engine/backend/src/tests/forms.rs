//! Forms of products chosen on the device.

use super::*;
use crate::ProgramId;
use crate::gpu::forms::{Form, Shape};
use ternary_model::program::{LinearInput, Program, Weight};

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
        shape = Some(Shape::of(int8, &weight, ROWS));
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

/// Results of the layers before and after the choice, and what was chosen.
fn tuned(gpu: &mut GpuBackend) -> (Vec<Vec<u8>>, Vec<Vec<u8>>, Form) {
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
    assert!(gpu.gpu.forms.is_open(&shape));
    pollster::block_on(gpu.choose_forms()).unwrap();
    assert!(!gpu.gpu.forms.is_open(&shape));
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
        let (before, after, form) = tuned(&mut open());
        assert_eq!(before, after);
        let gpu = open();
        let shape = layers(&mut Noise(1)).shape;
        assert!(!gpu.gpu.forms.is_open(&shape));
        assert_eq!(gpu.gpu.forms.of(&shape), form);
    });
}

#[test]
fn a_form_with_other_results_is_not_chosen() {
    with_gpu(|_| {
        for planted in [Form::Subgroup, Form::WorkgroupFloat, Form::SubgroupFloat] {
            // Fresh, so that nothing is chosen yet.
            let mut gpu = pollster::block_on(GpuBackend::new(&BackendOptions::default())).unwrap();
            // It takes no time at all: it would be chosen if it were not compared.
            gpu.gpu.forms.planted = Some(planted);
            let (before, after, form) = tuned(&mut gpu);
            assert_ne!(form, planted);
            assert_eq!(before, after);
        }
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
