//! Speed of a backend's largest operation, and of the memory beside it.

#[cfg(feature = "gpu")]
pub mod checks;
#[cfg(feature = "gpu")]
pub mod decoder;
#[cfg(feature = "gpu")]
pub mod rates;

#[cfg(feature = "native")]
use super::cpu;
use super::{Backend, BackendError};
use ternary_common::platform::Instant;
use ternary_core::rng::Rng;
use ternary_model::program::{BufferId, Elem, Op, Program, Recorder, RunParams};

/// Seconds of one f32 product of `[size, size]` matrices, `a·bᵀ` as a projection's forward: the
/// mean of `repeat` products, queued together after one that is not counted.
pub async fn gemm_seconds(
    backend: &mut dyn Backend,
    size: usize,
    repeat: usize,
) -> Result<f64, BackendError> {
    let (program, operands, done) = square_product(size, Elem::F32);
    let program = backend.prepare(program)?;
    let mut rng = Rng::new(1);
    let values: Vec<f32> = (0..size * size).map(|_| rng.normal()).collect();
    for operand in operands {
        backend.write(program, operand, bytemuck::cast_slice(&values))?;
    }
    let run_params = RunParams::default();
    backend.run(program, &run_params)?;
    backend.read(program, &[done]).await?;
    let start = Instant::now();
    for _ in 0..repeat {
        backend.run(program, &run_params)?;
    }
    backend.read(program, &[done]).await?;
    let seconds = start.elapsed().as_secs_f64() / repeat as f64;
    backend.clear();
    Ok(seconds)
}

/// `a·bᵀ` of `[size, size]` matrices, its operands, and a buffer that is read to know that all
/// before it is done.
fn square_product(size: usize, operands: Elem) -> (Program, [BufferId; 2], BufferId) {
    let mut recorder = Recorder::new();
    let [a, b, out] = [operands, operands, Elem::F32].map(|elem| recorder.io(elem, size * size));
    let done = recorder.io(Elem::F32, 1);
    recorder.push(Op::MatMul {
        a,
        b,
        out,
        m: size,
        n: size,
        k: size,
        trans_a: false,
        trans_b: true,
        accumulate: false,
    });
    (recorder.finish("gemm"), [a, b], done)
}

/// Bytes that each thread reads for [`read_bandwidth`]: more than any cache.
#[cfg(feature = "native")]
const READ: usize = 256 << 20;

/// The most bytes a second that `threads` threads read from memory together, each its own: the best
/// of several passes. What a model's weights are read with can be no faster.
#[cfg(feature = "native")]
pub fn read_bandwidth(threads: usize) -> f64 {
    let mut best = 0.0f64;
    let data: Vec<cpu::Memory> = (0..threads)
        .map(|i| {
            let mut memory = cpu::Memory::zeroed(READ);
            // Memory that was never written is one page of zeros.
            memory.bytes_mut().fill(i as u8 + 1);
            memory
        })
        .collect();
    for _ in 0..6 {
        let start = Instant::now();
        let total: u64 = std::thread::scope(|scope| {
            let sum = |part| scope.spawn(move || cpu::sum_words(part));
            let sums: Vec<_> = data.iter().map(|part| sum(part.view(READ / 8))).collect();
            let sums = sums.into_iter().filter_map(|sum| sum.join().ok());
            sums.fold(0, u64::wrapping_add)
        });
        std::hint::black_box(total);
        best = best.max((threads * READ) as f64 / start.elapsed().as_secs_f64());
    }
    best
}
