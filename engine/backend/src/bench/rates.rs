//! What a GPU can do at best: bytes and products a second, and what a dispatch costs.

use half::f16;

use super::square_product;
use crate::gpu::GpuBackend;
use crate::gpu::precision::Product;
use crate::{Backend, BackendError, ProgramId};
use ternary_common::platform::Instant;
use ternary_core::config::QuantMode;
use ternary_core::quant::tile::{act_stride, data_len};
use ternary_model::program::{BufferId, Elem, LinearInput, Op, Recorder, RunParams, Weight};

/// Runs that are queued together at most.
const MOST_RUNS: usize = 4096;
/// Dispatches of the program that a dispatch's cost is measured with.
const DISPATCHES: usize = 1000;

/// Seconds of one run of a program, the mean of as many as take about `seconds` together.
async fn seconds_of_run(
    backend: &mut dyn Backend,
    program: ProgramId,
    run_params: &RunParams,
    done: BufferId,
    seconds: f64,
) -> Result<f64, BackendError> {
    let mut runs = 1;
    // Not counted: pipelines are compiled, memory is touched.
    backend.run(program, run_params)?;
    backend.read(program, &[done]).await?;
    loop {
        let start = Instant::now();
        for _ in 0..runs {
            backend.run(program, run_params)?;
        }
        backend.read(program, &[done]).await?;
        let took = start.elapsed().as_secs_f64();
        if took >= seconds || runs >= MOST_RUNS {
            return Ok(took / runs as f64);
        }
        let wanted = (seconds / took.max(1e-6) * 1.2).ceil() as usize;
        runs = (runs * 2)
            .max((runs * wanted).min(MOST_RUNS))
            .min(MOST_RUNS);
    }
}

/// Bytes a second that copying a buffer of `bytes` reads and writes, together.
pub async fn copy_bandwidth(
    gpu: &mut GpuBackend,
    bytes: usize,
    seconds: f64,
) -> Result<f64, BackendError> {
    let mut runs = 1;
    loop {
        let took = gpu.copy_seconds(bytes, runs).await?;
        if took >= seconds || runs >= MOST_RUNS {
            // In 32 bits the product of both would not fit.
            return Ok(2.0 * bytes as f64 * runs as f64 / took);
        }
        runs *= 2;
    }
}

/// Seconds that one more dispatch takes, of a chain in which each waits for the one before.
pub async fn dispatch_seconds(
    backend: &mut dyn Backend,
    seconds: f64,
) -> Result<f64, BackendError> {
    let mut took = [0.0; 2];
    for (took, dispatches) in took.iter_mut().zip([1, DISPATCHES]) {
        let mut recorder = Recorder::new();
        let (x, branch) = (recorder.io(Elem::F32, 1), recorder.io(Elem::F32, 1));
        for _ in 0..dispatches {
            recorder.push(Op::Residual {
                x,
                branch,
                out: x,
                scale: 1.0,
                rows: 1,
                dim: 1,
            });
        }
        let program = backend.prepare(recorder.finish("dispatches"))?;
        let run_params = RunParams {
            rows: 1,
            ..RunParams::default()
        };
        *took = seconds_of_run(backend, program, &run_params, x, seconds).await?;
        backend.clear();
    }
    Ok((took[1] - took[0]).max(0.0) / (DISPATCHES - 1) as f64)
}

/// Names of the float products that this GPU has, `f32` the first.
pub fn products(gpu: &GpuBackend) -> Vec<&'static str> {
    let f16 = gpu.gpu.products.iter();
    std::iter::once(&Product::F32)
        .chain(f16)
        .map(|p| p.name())
        .collect()
}

/// Operations a second of a product of square matrices, by its name in [`products`]; operands are
/// stored as training stores those of its quantized matrices.
pub async fn float_gemm(
    gpu: &mut GpuBackend,
    product: &str,
    size: usize,
    seconds: f64,
) -> Result<f64, BackendError> {
    let known = gpu.gpu.products.iter().copied().chain([Product::F32]);
    if let Some(product) = known.into_iter().find(|p| p.name() == product) {
        gpu.product = product;
    }
    if gpu.keeps_halves() {
        return gemm(gpu, size, Elem::F16, seconds).await;
    }
    f32_gemm(gpu, size, seconds).await
}

/// Operations a second of a product of square f32 matrices, as the backend is set up.
pub async fn f32_gemm(
    backend: &mut dyn Backend,
    size: usize,
    seconds: f64,
) -> Result<f64, BackendError> {
    gemm(backend, size, Elem::F32, seconds).await
}

async fn gemm(
    backend: &mut dyn Backend,
    size: usize,
    elem: Elem,
    seconds: f64,
) -> Result<f64, BackendError> {
    let (program, operands, done) = square_product(size, elem);
    let program = backend.prepare(program)?;
    backend.tune().await?;
    let mut rng = ternary_core::rng::Rng::new(1);
    let values = (0..size * size).map(|_| rng.uniform() as f32 - 0.5);
    let bytes: Vec<u8> = match elem {
        Elem::F16 => values
            .flat_map(|v| f16::from_f32(v).to_le_bytes())
            .collect(),
        _ => values.flat_map(f32::to_le_bytes).collect(),
    };
    for operand in &operands {
        backend.write(program, *operand, &bytes)?;
    }
    square_rate(backend, program, size, done, seconds).await
}

/// Operations a second of int8 activations times int8 weights, both square.
pub async fn int8_gemm(
    backend: &mut dyn Backend,
    size: usize,
    seconds: f64,
) -> Result<f64, BackendError> {
    let mode = QuantMode::EightBit;
    let mut recorder = Recorder::new();
    let (elem, len) = data_len(mode, size, size);
    let (codes, data) = (
        recorder.io(Elem::I8, size * act_stride(size)),
        recorder.io(elem, len),
    );
    let [scales, by] = std::array::from_fn(|_| recorder.io(Elem::F32, size));
    let out = recorder.io(Elem::F32, size * size);
    let done = recorder.io(Elem::F32, 1);
    recorder.push(Op::Linear {
        input: LinearInput::Int8 { codes, scales },
        weight: Weight {
            mode,
            data,
            scales: Some(by),
            out_dim: size,
            in_dim: size,
            group: size,
        },
        out,
        rows: size,
    });
    let program = backend.prepare(recorder.finish("gemm"))?;
    let bytes: Vec<u8> = (0..size * act_stride(size))
        .map(|i| (i % 251) as u8)
        .collect();
    backend.write(program, codes, &bytes)?;
    backend.write(program, data, &bytes[..len])?;
    square_rate(backend, program, size, done, seconds).await
}

async fn square_rate(
    backend: &mut dyn Backend,
    program: ProgramId,
    size: usize,
    done: BufferId,
    seconds: f64,
) -> Result<f64, BackendError> {
    let run_params = RunParams {
        rows: size as u32,
        grad_scale: 1.0,
        ..RunParams::default()
    };
    let took = seconds_of_run(backend, program, &run_params, done, seconds).await?;
    backend.clear();
    let size = size as f64;
    Ok(2.0 * size * size * size / took)
}
