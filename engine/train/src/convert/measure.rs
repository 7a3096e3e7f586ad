//! The loss of a model that is not trained.

use crate::error::Result;
use crate::start::Start;
use crate::steps::Validation;
use crate::trainer::{self, Step};
use ternary_backend::Backend;
use ternary_core::config::{ModelConfig, TrainConfig};
use ternary_model::{self as model, Objective, Parameters};

/// Mean cross-entropy, nats per token. The backend is emptied before and afterwards.
pub(super) async fn loss(
    backend: &mut dyn Backend,
    config: &ModelConfig,
    parameters: &Parameters,
    train: &TrainConfig,
    validation: &Validation,
) -> Result<f64> {
    backend.clear();
    let mut start = Start {
        parameters: Some(parameters.clone()),
        ..Start::default()
    };
    start.upload(backend, config, train)?;
    drop(start);
    let (batch, seq) = (train.batch_size, trainer::seq_len(config, train)?);
    let recorded = model::record_train(config, batch, seq, Objective::default(), false);
    let step = Step::prepare(backend, recorded)?;
    let loss = validation.loss_of(backend, &step, [batch, seq]).await;
    backend.clear();
    loss
}
