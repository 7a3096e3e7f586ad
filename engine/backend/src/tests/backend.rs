//! The backend itself: buffers, errors, programs of several operations.

use super::*;
use crate::ProgramId;

/// A program `y = x + 2·branch` with `x` shared.
fn add_to_shared(len: usize) -> (ternary_model::program::Program, BufferId, BufferId) {
    let mut recorder = Recorder::new();
    let x = recorder.shared("stream", Elem::F32, len);
    let branch = recorder.io(Elem::F32, len);
    recorder.push(Op::Residual {
        x,
        branch,
        out: x,
        scale: 2.0,
        rows: 1,
        dim: len,
    });
    (recorder.finish("add"), x, branch)
}

#[test]
fn shared_buffers_outlive_programs_and_are_seen_by_all() {
    with_gpu(|gpu| {
        gpu.upload("stream", bytemuck::cast_slice(&[1f32, 2.0, 3.0]))
            .unwrap();
        let (program, x, branch) = add_to_shared(3);
        let first = gpu.prepare(program.clone()).unwrap();
        let second = gpu.prepare(program).unwrap();
        for (id, step) in [(first, 1f32), (second, 10.0), (first, 0.0)] {
            gpu.write(id, branch, bytemuck::bytes_of(&step)).unwrap();
            gpu.run(id, &rows(1)).unwrap();
        }
        // The third run sees the branch of `first` overwritten by 0, the second its own.
        let want: &[u8] = bytemuck::cast_slice(&[23f32, 2.0, 3.0]);
        assert_eq!(pollster::block_on(gpu.download("stream")).unwrap(), want);
        let read = pollster::block_on(gpu.read(second, &[branch, x])).unwrap();
        assert_eq!(elements::<f32>(&read[0]), [10.0, 0.0, 0.0]);
        assert_eq!(read[1], want);
    });
}

#[test]
fn what_is_read_later_is_as_it_was_when_it_was_asked_for() {
    on_both(|backend| {
        let (program, x, branch) = add_to_shared(3);
        let id = backend.prepare(program).unwrap();
        let read_before = backend.read_bytes();
        let mut later = Vec::new();
        for _ in 0..4 {
            backend
                .write(id, branch, bytemuck::bytes_of(&1f32))
                .unwrap();
            backend.run(id, &rows(1)).unwrap();
            later.push(backend.read_later(id, x).unwrap());
        }
        // Nobody has to wait.
        drop(later.remove(1));
        for (read, value) in later.into_iter().zip([2f32, 6.0, 8.0]) {
            let read = pollster::block_on(read).unwrap();
            assert_eq!(elements::<f32>(&read), [value, 0.0, 0.0]);
        }
        if backend.queues() {
            assert_eq!(backend.read_bytes() - read_before, 4 * 12);
        }
        backend.clear();
    });
}

#[test]
fn mistakes_are_errors() {
    with_gpu(|gpu| {
        let (program, _, branch) = add_to_shared(3);
        let id = gpu.prepare(program).unwrap();
        assert!(matches!(
            gpu.upload("stream", &[0; 8]),
            Err(BackendError::Size { .. })
        ));
        assert!(matches!(
            gpu.write(id, branch, &[0; 64]),
            Err(BackendError::Size { .. })
        ));
        assert!(matches!(
            gpu.run(ProgramId(7), &rows(1)),
            Err(BackendError::NoBuffer(_))
        ));
        assert!(matches!(
            pollster::block_on(gpu.download("nothing")),
            Err(BackendError::NoBuffer(_))
        ));
        assert!(matches!(
            gpu.prepare(add_to_shared(4).0),
            Err(BackendError::Size { .. })
        ));
    });
}

#[test]
fn running_out_of_memory_is_an_error_and_not_the_end() {
    with_gpu(|gpu| {
        // More than any adapter has.
        let mut recorder = Recorder::new();
        let x = recorder.shared("huge", Elem::F32, 1 << 44);
        recorder.push(Op::LastRow {
            x,
            out: x,
            rows: 1,
            dim: 1,
        });
        let error = gpu.prepare(recorder.finish("huge")).unwrap_err();
        assert!(
            matches!(&error, BackendError::OutOfMemory { bytes, .. } if *bytes == 1 << 46),
            "{error}"
        );
        let (program, ..) = add_to_shared(3);
        let id = gpu.prepare(program).unwrap();
        gpu.run(id, &rows(1)).unwrap();
    });
}

#[test]
fn a_lost_device_is_an_error() {
    with_gpu(|_| {
        let mut gpu = pollster::block_on(GpuBackend::new(&BackendOptions::default())).unwrap();
        let (program, _, branch) = add_to_shared(3);
        let id = gpu.prepare(program.clone()).unwrap();
        gpu.gpu.device.destroy();
        let errors = [
            pollster::block_on(gpu.read(id, &[branch])).err(),
            gpu.run(id, &rows(1)).err(),
            gpu.write(id, branch, &[0; 4]).err(),
            gpu.prepare(program).err(),
            pollster::block_on(gpu.download("stream")).err(),
        ];
        for error in errors {
            assert!(
                matches!(error, Some(BackendError::DeviceLost(_))),
                "{error:?}"
            );
        }
    });
}

#[test]
fn a_decode_step_takes_few_dispatches() {
    use crate::bench::decoder::{Decoder, shape_2b4t, shape_110m};
    with_gpu(|gpu| {
        let forms = gpu.adapter().forms;
        for (mut config, floats) in [
            (shape_110m(), false),
            (shape_2b4t(), false),
            (shape_110m(), true),
        ] {
            // Counted on the whole shape but for the table of tokens.
            config.vocab_size = 300;
            if floats {
                config.activation_bits = None;
            }
            let decoder = Decoder::new(config);
            for (form, rows, layer) in [
                // q with k and v, heads, attention, its combination; o; gate with up, activate,
                // down.
                ("", 1, 8),
                ("fused-workgroup", 1, 8),
                ("fused-subgroup", 1, 8),
                ("fused-workgroup", 4, 8),
                // The same with norms and quantizations apart.
                ("workgroup", 1, if floats { 10 } else { 11 }),
            ] {
                if form.is_empty() || forms.contains(&form) {
                    gpu.force_forms(form).unwrap();
                    let dispatches = decoder.dispatches(gpu, rows).unwrap();
                    assert_eq!(dispatches.layer, layer, "{form}, {rows} rows");
                }
            }
        }
        gpu.force_forms("").unwrap();
    });
}

#[test]
fn a_token_of_whole_models_takes_so_many_dispatches() {
    use crate::bench::decoder::{Decoder, shape_2b4t, shape_110m};
    const BINDING: u64 = 128 << 20;
    with_gpu(|_| {
        // What every adapter binds, so that tables are in as many parts everywhere.
        let limits = |limits: wgpu::Limits| wgpu::Limits {
            max_storage_buffer_binding_size: BINDING.min(limits.max_storage_buffer_binding_size),
            ..limits
        };
        let options = BackendOptions::default();
        let mut gpu = pollster::block_on(GpuBackend::within(&options, limits)).unwrap();
        for (config, token) in [
            // Twelve layers of 8; embedding, head, penalty, two for the candidates, the choice.
            (shape_110m(), 102),
            // Thirty of 8; a table of 657 MB in five parts for the embedding and five for the head.
            (shape_2b4t(), 254),
        ] {
            let dispatches = Decoder::new(config).dispatches(&mut gpu, 1).unwrap();
            assert_eq!(dispatches.token, token);
        }
    });
}

#[test]
fn the_fallback_for_packed_products_is_exact() {
    with_gpu(|_| {
        let mut gpu = pollster::block_on(GpuBackend::new(&BackendOptions::default())).unwrap();
        gpu.gpu.packed_dot = false;
        let x = vec![vec![-127i8, 127, 3, -4, 100]];
        let w = vec![vec![127i8, 127, -1, 2, -100]];
        let mut case = Case::default();
        let out = case.out(1);
        let op = Op::Linear {
            input: ternary_model::program::LinearInput::Int8 {
                codes: case.codes(&x),
                scales: case.f32(&[1.0]),
            },
            weight: ternary_model::program::Weight {
                mode: QuantMode::EightBit,
                data: case.tiles(QuantMode::EightBit, &w),
                scales: Some(case.f32(&[1.0])),
                out_dim: 1,
                in_dim: 5,
                group: 5,
            },
            out,
            rows: 1,
        };
        assert_eq!(case.run(&mut gpu, op, &rows(1), out), [-10_011.0]);
    });
}

#[test]
fn the_device_is_described() {
    with_gpu(|gpu| {
        let info = Backend::info(gpu);
        assert_eq!(info.kind, crate::DeviceKind::Gpu);
        assert!(!info.name.is_empty());
        let lower = info.name.to_lowercase();
        assert_eq!(
            info.software,
            ["llvmpipe", "lavapipe", "swiftshader"]
                .iter()
                .any(|s| lower.contains(s))
        );
    });
}

#[test]
fn compiled_pipelines_are_kept_and_damaged_files_replaced() {
    with_gpu(|_| {
        let folder = tempfile::tempdir().unwrap();
        let options = BackendOptions {
            cache_folder: Some(folder.path().join("below")),
            ..BackendOptions::default()
        };
        let run = || {
            let mut gpu = pollster::block_on(GpuBackend::new(&options)).unwrap();
            let (program, x, _) = add_to_shared(3);
            let id = gpu.prepare(program).unwrap();
            gpu.run(id, &rows(1)).unwrap();
            pollster::block_on(gpu.read(id, &[x])).unwrap();
            gpu.gpu.pipeline_cache.is_some()
        };
        if !run() {
            eprintln!("this driver keeps no pipelines");
            return;
        }
        let files = || -> Vec<_> {
            let entries = std::fs::read_dir(folder.path().join("below")).unwrap();
            entries.map(|e| e.unwrap().path()).collect()
        };
        let [file] = files().try_into().unwrap();
        let size = std::fs::metadata(&file).unwrap().len();
        assert!(size > 4);
        std::fs::write(&file, b"nothing a driver ever wrote").unwrap();
        assert!(run());
        assert_eq!(std::fs::metadata(&file).unwrap().len(), size);
        assert_eq!(files().len(), 1);
    });
}
