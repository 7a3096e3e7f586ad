//! What is likely wrong with a training that goes wrong: messages that name the cause.

use super::trainer::Trainer;
use crate::error::Result;
#[cfg(feature = "native")]
use ternary_core::config::{ModelConfig, TrainConfig};

/// Where a loss that is not finite comes from: the first parameter with a value that is not finite,
/// or else the one with the largest value.
pub(super) async fn not_finite(trainer: &mut Trainer) -> Result<String> {
    let mut largest = (0.0f32, String::new());
    for p in trainer.trained() {
        for (i, v) in trainer.parameter(&p.name).await?.into_iter().enumerate() {
            if !v.is_finite() {
                return Ok(format!("{} holds {v} (element {i})", p.name));
            }
            if v.abs() > largest.0 || largest.1.is_empty() {
                largest = (v.abs(), p.name.clone());
            }
        }
    }
    Ok(format!(
        "every parameter is finite, the largest value is {:.3e} in {}",
        largest.0, largest.1
    ))
}

/// Why the loss may be above uniform guessing after warm-up. A good initialization begins at about
/// uniform guessing.
#[cfg(feature = "native")]
pub(super) fn above_uniform(
    loss: f64,
    uniform: f64,
    first: Option<f64>,
    config: &ModelConfig,
    train: &TrainConfig,
) -> String {
    let lr = format!("the learning rate (peak {}) is likely too high", train.lr);
    let init = format!(
        "embed_init_std {} is likely too large (0.02 is usual)",
        config.embed_init_std
    );
    let cause = match first {
        Some(first) if first > 1.1 * uniform + 0.5 => {
            format!("The first step's loss was {first:.3} already: {init}")
        }
        Some(first) => format!("The first step's loss was {first:.3}, as it should be: {lr}"),
        None => format!("Either {lr}, or {init}"),
    };
    format!("the loss {loss:.3} is above uniform guessing ({uniform:.3}) after warm-up. {cause}")
}
