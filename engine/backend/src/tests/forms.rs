//! Forms of products chosen on the device.

use super::*;
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
