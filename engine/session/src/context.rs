//! Contexts that fit: of a long one, as much as the memory holds.

use std::borrow::Cow;

use crate::error::{Error, Result};
use ternary_backend::Backend;
use ternary_core::config::{CachePrecision, ModelConfig};
use ternary_formats::onebit::OneBit;
use ternary_infer::LoadPlan;

/// What is left of a context at least: a model that does not fit with it does not fit.
const SHORTEST: usize = 256;

/// A model's plan in the longest context found for it.
pub(super) struct Fitted {
    pub context: usize,
    pub plan: LoadPlan,
    /// The error if it does not fit all the same.
    pub fits: Result<()>,
}

/// The context of the model, or of its halves the longest whose keys and values take no more than
/// `bytes`.
pub fn context_within(config: &ModelConfig, bytes: u64, cache: CachePrecision) -> usize {
    let mut context = config.max_seq_len;
    let position = cache.of(config).position_bytes(config) as u64;
    let token = 2 * position * config.num_layers as u64;
    while may_be_shorter(config, context) && token.saturating_mul(context as u64) > bytes {
        context = half(context);
    }
    context
}

/// Positions that are learned are as many as there are.
fn may_be_shorter(config: &ModelConfig, context: usize) -> bool {
    config.use_rope && context > SHORTEST
}

fn half(context: usize) -> usize {
    (context / 2).max(SHORTEST)
}

/// What a model is planned for.
pub(super) struct Planning<'a> {
    pub backend: &'a dyn Backend,
    /// Why that one, for people.
    pub device_reason: &'a str,
    pub file_bytes: u64,
    pub cache: CachePrecision,
}

/// Plans a model on a device that has nothing on it yet, with a context of `asked` tokens. Where
/// none is asked for: with a `cache_limit` (in a page, which is not told how much memory there is)
/// the longest that keeps within it and fits, otherwise what is in proportion to the model and the
/// memory that is free.
///
/// # Errors
/// A context that the model cannot have, and what planning says.
pub(super) fn fit(
    planning: &Planning<'_>,
    config: &ModelConfig,
    asked: Option<usize>,
    cache_limit: Option<u64>,
) -> Result<Fitted> {
    let whole = config.max_seq_len;
    let Planning {
        backend,
        device_reason,
        file_bytes,
        cache,
    } = *planning;
    let plan =
        |config: &ModelConfig| LoadPlan::new(backend, device_reason, config, file_bytes, cache);
    let mut config = config.clone();
    config.max_seq_len = match (asked, cache_limit) {
        (Some(asked), _) if asked == 0 || asked > whole => {
            return Err(Error::ContextSize { asked, whole });
        }
        (Some(asked), _) if !config.use_rope && asked < whole => {
            return Err(Error::FixedContext { asked, whole });
        }
        (Some(asked), _) => asked,
        (None, Some(limit)) => context_within(&config, limit, cache),
        (None, None) => plan(&config)?.context(&config, &backend.limits()),
    };
    loop {
        let context = config.max_seq_len;
        let last = asked.is_some() || cache_limit.is_none() || !may_be_shorter(&config, context);
        match plan(&config) {
            Ok(plan) => {
                let fits = plan.check(&backend.limits());
                if last || fits.is_ok() {
                    return Ok(Fitted {
                        context,
                        plan,
                        fits: fits.map_err(Error::from),
                    });
                }
            }
            Err(problem) if last => return Err(problem.into()),
            Err(_) => {}
        }
        config.max_seq_len = half(context);
    }
}

/// The file as one of a model with that context. Learned positions stay as many as there are.
pub(super) fn shortened(file: &OneBit, context: usize) -> Cow<'_, OneBit> {
    let config = &file.metadata.config;
    if !config.use_rope || config.max_seq_len == context {
        return Cow::Borrowed(file);
    }
    let mut file = file.clone();
    file.metadata.config.max_seq_len = context;
    Cow::Owned(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ternary_backend::cpu::CpuBackend;

    fn config(context: usize) -> ModelConfig {
        ModelConfig {
            max_seq_len: context,
            use_rope: true,
            ..ModelConfig::default()
        }
    }

    #[test]
    fn a_context_is_halved_until_it_fits() {
        let backend = CpuBackend::new(1);
        let planning = Planning {
            backend: &backend,
            device_reason: "",
            file_bytes: 0,
            cache: CachePrecision::F16,
        };
        let plan = |config: &ModelConfig, limit| fit(&planning, config, None, limit).unwrap();
        let long = config(1 << 17);
        let token = 4 * (long.num_layers * long.kv_dim()) as u64;
        let found = plan(&long, Some(5000 * token));
        assert_eq!(found.context, 4096);
        assert_eq!(found.plan.cache_bytes, 4096 * token);
        found.fits.unwrap();
        let asked = fit(&planning, &long, Some(999), None).unwrap();
        assert_eq!(asked.context, 999);
        for no in [0, (1 << 17) + 1] {
            assert!(fit(&planning, &long, Some(no), None).is_err());
        }
        // Never to nothing, and not where nobody asked for it.
        assert_eq!(plan(&long, Some(0)).context, SHORTEST);
        assert_eq!(plan(&config(1024), None).context, 1024);
        assert_eq!(plan(&config(100), Some(0)).context, 100);
        // Learned positions are part of the file.
        let learned = ModelConfig {
            use_rope: false,
            ..config(1024)
        };
        assert_eq!(plan(&learned, Some(0)).context, 1024);
    }
}
