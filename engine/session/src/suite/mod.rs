//! Whether a GPU computes what the CPU does, and how fast: the parts of `onebit bench --suite gpu`
//! and of the page's `?bench`. Each part stands alone, so that one that fails costs nothing else:
//! natively it is a process, in the page a request that a new worker can take.

#[cfg(feature = "gpu")]
mod compare;
#[cfg(feature = "gpu")]
mod measure;
mod part;
mod report;
#[cfg(feature = "gpu")]
mod training;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use part::Part;
pub use report::{Report, Section};
#[cfg(feature = "gpu")]
pub use training::{Measured, TrainShape, train};

/// How the suite runs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SuiteOptions {
    /// Shorter, for GPUs in software.
    pub quick: bool,
    /// The browser, where the suite runs in a page: shapes are smaller there.
    pub browser: Option<String>,
    /// There is no GPU: measure the CPU.
    pub without_gpu: bool,
}

/// What a part says while it runs.
#[derive(Clone, Copy, Debug)]
pub enum Told<'a> {
    /// For people who watch.
    Line(&'a str),
    /// All that it has found so far.
    Found(&'a Map<String, Value>),
}

/// Run a part. `rates` is what [`Part::Rates`] found, if it ran before; `shipped` is the model that
/// [`Part::Text`] writes with. What went wrong is also among what was found, as `error`.
///
/// # Errors
/// The part could not be run, or the GPU does not compute what the CPU does.
#[cfg(feature = "gpu")]
pub async fn run_part(
    part: Part,
    options: &SuiteOptions,
    rates: &Map<String, Value>,
    shipped: Option<std::rc::Rc<dyn ternary_common::bytes::ByteSource>>,
    tell: &mut dyn FnMut(Told<'_>),
) -> crate::Result<()> {
    let mut found = part::Findings::new(part.budget(options), tell);
    let result = match part {
        Part::Adapter => compare::adapter(options, &mut found).await,
        Part::Operations => compare::operations(options, &mut found).await,
        Part::Text => compare::text(options, shipped, &mut found).await,
        Part::TrainingSteps => compare::training_steps(options, &mut found).await,
        Part::Rates => measure::rates(options, &mut found).await,
        Part::Inference => measure::inference(options, &mut found).await,
        Part::Training => measure::training(options, rates, &mut found).await,
    };
    if let Err(e) = &result {
        found.put("error", e.to_string());
    }
    result
}
