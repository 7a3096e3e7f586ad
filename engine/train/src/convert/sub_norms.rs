//! Norms before output projections that change as little as they can.

use crate::error::Result;
use crate::start::{Start, Teacher};
use ternary_backend::{Backend, elements};
use ternary_common::data::{Batches, Windows};
use ternary_core::config::{ModelConfig, TrainConfig};
use ternary_core::params;
use ternary_model::program::RunParams;
use ternary_model::{Parameters, ones_name, record_sub_norms};

/// Batches that the weights are fitted on.
const BATCHES: usize = 4;

/// The float model's parameters and, where `student` has norms that it lacks, their weights: for
/// every channel the w that brings w·x/rms(x) nearest to x, by least squares over some tokens. The
/// backend is emptied before and afterwards.
pub(super) async fn with_sub_norms(
    backend: &mut dyn Backend,
    teacher: &Teacher,
    student: &ModelConfig,
    train: &TrainConfig,
    data: &Batches,
    seq: usize,
) -> Result<Parameters> {
    let mut all = teacher.parameters.clone();
    if !student.use_sub_norm || teacher.config.use_sub_norm {
        return Ok(all);
    }
    backend.clear();
    let mut start = Start {
        teacher: Some(teacher.clone()),
        ..Start::default()
    };
    start.upload_teacher(backend, train.seed)?;
    drop(start);
    let recorded = record_sub_norms(&teacher.config, train.batch_size, seq);
    for norm in &recorded.norms {
        let ones = vec![1f32; norm.dim];
        backend.upload(&ones_name(norm.dim), bytemuck::cast_slice(&ones))?;
    }
    let (ids_at, norms) = (recorded.ids, recorded.norms);
    let program = backend.prepare(recorded.program)?;
    for i in 0..BATCHES {
        let mut windows = Windows::default();
        let first = (i * train.batch_size) as u64;
        data.fill(first, train.batch_size, &mut windows)?;
        backend.write(program, ids_at, bytemuck::cast_slice(&windows.ids))?;
        let run_params = RunParams {
            rows: windows.ids.len() as u32,
            ..RunParams::default()
        };
        backend.run(program, &run_params)?;
        backend.throttle().await?;
    }
    for norm in norms {
        let products: Vec<f32> = elements(&backend.download(&norm.products).await?);
        let squares: Vec<f32> = elements(&backend.download(&norm.squares).await?);
        let weights = products.iter().zip(&squares).map(|(product, square)| {
            // A channel that was always 0 has nothing to be scaled.
            if *square > 0.0 { product / square } else { 1.0 }
        });
        all.insert(norm.name, weights.collect());
    }
    backend.clear();
    debug_assert!(
        params::all(student)
            .iter()
            .all(|p| all.contains_key(&p.name))
    );
    Ok(all)
}
