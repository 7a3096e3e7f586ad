//! Every operation on a GPU against the CPU, on ragged shapes and in each form: for a card that
//! nobody has seen yet.

mod case;
mod inference;
#[cfg(feature = "training")]
mod training;

pub use case::Case;

use crate::BackendError;
use crate::cpu::CpuBackend;
use crate::gpu::GpuBackend;

/// What became of a case in one form.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Outcome {
    pub operation: String,
    pub shape: String,
    /// Of products and attention, the way they were computed in.
    pub form: Option<&'static str>,
    /// The largest error, relative to the value and the mean of all.
    pub error: f64,
    /// What is wrong, if anything is.
    pub problem: Option<String>,
}

/// All operations and what the GPU fuses, at the ragged widths of `dims`.
pub fn cases(dims: &[usize]) -> Vec<Case> {
    let mut cases = Vec::new();
    for dim in dims {
        cases.extend(inference::cases(*dim));
        #[cfg(feature = "training")]
        cases.extend(training::cases(*dim));
    }
    cases
}

/// Run `case` on the CPU and on the GPU, there in every form that it has.
pub async fn check(gpu: &mut GpuBackend, case: &Case) -> Vec<Outcome> {
    let outcome = |form, result: Result<f64, String>| Outcome {
        operation: case.operation.clone(),
        shape: case.shape.clone(),
        form,
        error: *result.as_ref().unwrap_or(&f64::NAN),
        problem: result.err(),
    };
    let want = match case.run(&mut CpuBackend::new(1)).await {
        Ok(want) => want,
        Err(e) => return vec![outcome(None, Err(format!("the CPU: {e}")))],
    };
    let forms = case.forms(gpu);
    let names: Vec<_> = match forms.is_empty() {
        true => vec![None],
        false => forms.into_iter().map(Some).collect(),
    };
    let mut outcomes = Vec::new();
    // Results of a form that is right: the others have the same, to the bit.
    let mut first = None;
    for name in names {
        let got = in_form(gpu, case, name).await;
        let result = got.and_then(|got| {
            let error = case.compare(&got, &want)?;
            if *first.get_or_insert_with(|| got.clone()) != got {
                return Err("it differs from another form".to_owned());
            }
            Ok(error)
        });
        outcomes.push(outcome(name, result));
    }
    outcomes
}

async fn in_form(
    gpu: &mut GpuBackend,
    case: &Case,
    form: Option<&str>,
) -> Result<Vec<Vec<u8>>, String> {
    let asked = std::mem::take(&mut gpu.gpu.forms.forced);
    let got = match gpu.gpu.forms.force(form.unwrap_or_default()) {
        Ok(()) => case.run(gpu).await,
        Err(e) => Err(e),
    };
    gpu.gpu.forms.forced = asked;
    got.map_err(|e: BackendError| e.to_string())
}
