//! Speed of a backend's largest operation.

use super::{Backend, BackendError};
use ternary_common::platform::Instant;
use ternary_core::rng::Rng;
use ternary_model::program::{Elem, Op, Recorder, RunParams};

/// Seconds of one f32 product of `[size, size]` matrices, `a·bᵀ` as a projection's forward: the
/// mean of `repeat` products, queued together after one that is not counted.
pub async fn gemm_seconds(
    backend: &mut dyn Backend,
    size: usize,
    repeat: usize,
) -> Result<f64, BackendError> {
    let mut recorder = Recorder::new();
    let len = size * size;
    let [a, b, out] = std::array::from_fn(|_| recorder.io(Elem::F32, len));
    // Read to know that everything before it is done.
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
    let program = backend.prepare(recorder.finish("gemm"))?;
    let mut rng = Rng::new(1);
    let values: Vec<f32> = (0..len).map(|_| rng.normal()).collect();
    for operand in [a, b] {
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
