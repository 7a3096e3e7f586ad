//! Every operation against plain f64, on ragged, zero and saturated data.

mod backend;
mod checks;
mod compare;
mod cooperative;
mod cpu;
mod forms;
mod gradients;
mod halves;
mod linear;
mod matmul;
mod optimizer;
mod rows;
mod sampling;
mod train_attention;
mod update;
mod weights;

use std::sync::{Mutex, OnceLock, PoisonError};

use half::f16;

use crate::Backend;
use crate::BackendError;
use crate::BackendOptions;
use crate::cpu::CpuBackend;
use crate::elements;
use crate::gpu::GpuBackend;
use ternary_core::config::QuantMode;
use ternary_core::quant::tile::{TileWriter, act_stride};
use ternary_model::program::{BufferId, Elem, Op, Recorder, RunParams};

/// Sizes around the widths of quads, tiles and workgroups.
const RAGGED: [usize; 4] = [1, 3, 65, 257];

/// Run `test` on the one device of this test binary.
fn with_gpu(test: impl FnOnce(&mut GpuBackend)) {
    static GPU: OnceLock<Mutex<GpuBackend>> = OnceLock::new();
    if std::env::var("ONEBIT_GPU_TESTS").is_ok_and(|v| v == "off") {
        eprintln!("SKIPPED: GPU tests are switched off by ONEBIT_GPU_TESTS=off");
        return;
    }
    let gpu = GPU.get_or_init(|| match pollster::block_on(GpuBackend::new(&BackendOptions::default())) {
        Ok(gpu) => {
            eprintln!("GPU tests run on {}", Backend::info(&gpu).name);
            Mutex::new(gpu)
        }
        Err(e) => panic!(
            "{e}. GPU tests need an adapter: a software one is enough \
             (apt-get install mesa-vulkan-drivers libvulkan1). ONEBIT_GPU_TESTS=off switches them off."
        ),
    });
    let mut gpu = gpu.lock().unwrap_or_else(PoisonError::into_inner);
    gpu.clear();
    test(&mut gpu);
}

/// Run `test` on the CPU's twin and on the device.
fn on_both(test: impl Fn(&mut dyn Backend)) {
    test(&mut CpuBackend::new(2));
    with_gpu(|gpu| test(gpu));
}

fn f64s(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

/// A small program with the contents of its buffers.
#[derive(Default)]
struct Case {
    recorder: Recorder,
    contents: Vec<(BufferId, Vec<u8>)>,
}

impl Case {
    fn bytes(&mut self, elem: Elem, bytes: Vec<u8>) -> BufferId {
        let id = self.recorder.io(elem, bytes.len() / elem.bytes());
        self.contents.push((id, bytes));
        id
    }

    fn f32(&mut self, values: &[f32]) -> BufferId {
        self.bytes(Elem::F32, bytemuck::cast_slice(values).to_vec())
    }

    fn u32(&mut self, values: &[u32]) -> BufferId {
        self.bytes(Elem::U32, bytemuck::cast_slice(values).to_vec())
    }

    /// int8 rows in memory as activations lie.
    fn codes(&mut self, rows: &[Vec<i8>]) -> BufferId {
        let stride = act_stride(rows[0].len());
        let mut bytes = vec![0i8; rows.len() * stride];
        for (line, row) in bytes.chunks_exact_mut(stride).zip(rows) {
            line[..row.len()].copy_from_slice(row);
        }
        self.bytes(Elem::I8, bytemuck::cast_slice(&bytes).to_vec())
    }

    /// A weight's data in the run-time layout.
    fn tiles(&mut self, mode: QuantMode, rows: &[Vec<i8>]) -> BufferId {
        let mut writer = TileWriter::new(mode, rows.len(), rows[0].len());
        for (r, row) in rows.iter().enumerate() {
            writer.row(r, row);
        }
        let (elem, _) = ternary_core::quant::tile::data_len(mode, rows.len(), rows[0].len());
        self.bytes(elem, writer.finish())
    }

    /// A float weight's data; `rows` hold values that its mode has.
    fn floats(&mut self, mode: QuantMode, rows: &[Vec<f32>]) -> BufferId {
        let mut writer = TileWriter::new(mode, rows.len(), rows[0].len());
        for (r, row) in rows.iter().enumerate() {
            writer.row_floats(r, &float_bytes(mode, row));
        }
        let (elem, _) = ternary_core::quant::tile::data_len(mode, rows.len(), rows[0].len());
        self.bytes(elem, writer.finish())
    }

    /// A zeroed buffer for a result.
    fn out(&mut self, len: usize) -> BufferId {
        self.recorder.io(Elem::F32, len)
    }

    fn try_run(
        self,
        backend: &mut dyn Backend,
        op: Op,
        run_params: &RunParams,
        read: &[BufferId],
    ) -> Result<Vec<Vec<u8>>, BackendError> {
        let Case {
            mut recorder,
            contents,
        } = self;
        recorder.push(op);
        let program = backend.prepare(recorder.finish("test"))?;
        for (id, bytes) in &contents {
            backend.write(program, *id, bytes)?;
        }
        backend.run(program, run_params)?;
        let result = pollster::block_on(backend.read(program, read));
        backend.clear();
        result
    }

    /// Run one operation and read one f32 buffer.
    fn run(
        self,
        backend: &mut dyn Backend,
        op: Op,
        run_params: &RunParams,
        read: BufferId,
    ) -> Vec<f32> {
        let contents = self.try_run(backend, op, run_params, &[read]).unwrap();
        elements(&contents[0])
    }

    /// Run one operation and read some f32 buffers.
    fn run_all<const N: usize>(
        self,
        backend: &mut dyn Backend,
        op: Op,
        run_params: &RunParams,
        read: [BufferId; N],
    ) -> [Vec<f32>; N] {
        let contents = self.try_run(backend, op, run_params, &read).unwrap();
        std::array::from_fn(|i| elements(&contents[i]))
    }
}

fn rows(rows: usize) -> RunParams {
    RunParams {
        rows: rows as u32,
        ..RunParams::default()
    }
}

fn at(pos: usize, rows: usize) -> RunParams {
    RunParams {
        pos: pos as u32,
        rows: rows as u32,
        ..RunParams::default()
    }
}

/// Repeatable noise.
struct Noise(u64);

/// A row of a float weight as its mode stores it.
fn float_bytes(mode: QuantMode, row: &[f32]) -> Vec<u8> {
    match mode {
        QuantMode::F32 => bytemuck::cast_slice(row).to_vec(),
        _ => {
            let halves: Vec<f16> = row.iter().map(|v| f16::from_f32(*v)).collect();
            bytemuck::cast_slice(&halves).to_vec()
        }
    }
}

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// In −1..1.
    fn unit(&mut self) -> f32 {
        (self.next() % 2_000_001) as f32 / 1e6 - 1.0
    }

    fn floats(&mut self, len: usize, scale: f32) -> Vec<f32> {
        (0..len).map(|_| self.unit() * scale).collect()
    }

    fn codes(&mut self, mode: QuantMode, len: usize) -> Vec<i8> {
        (0..len)
            .map(|_| match mode {
                QuantMode::Ternary => (self.next() % 3) as i8 - 1,
                QuantMode::Binary => (self.next() % 2) as i8 * 2 - 1,
                _ => (self.next() % 255) as i8 as i16 as i8,
            })
            .map(|c| c.max(-127))
            .collect()
    }
}
