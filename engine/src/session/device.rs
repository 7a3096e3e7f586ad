//! Choosing a backend by what the machine really has.

use super::DeviceChoice;
use crate::backend::Backend;
use crate::backend::cpu::CpuBackend;
use crate::error::Result;

/// A backend for `choice`, and why it was chosen.
pub async fn open_backend(
    choice: DeviceChoice,
    threads: usize,
) -> Result<(Box<dyn Backend>, String)> {
    let cpu = |reason: &str| -> (Box<dyn Backend>, String) {
        (Box::new(CpuBackend::new(threads)), reason.to_owned())
    };
    match choice {
        DeviceChoice::Cpu => Ok(cpu("chosen by you")),
        DeviceChoice::Gpu => Ok((gpu().await?, "chosen by you".to_owned())),
        DeviceChoice::Auto => Ok(match gpu().await {
            Ok(backend) if backend.info().software => {
                let name = backend.info().name;
                cpu(&format!(
                    "the only GPU, {name}, is software: the CPU is faster"
                ))
            }
            Ok(backend) => (backend, "a GPU is available".to_owned()),
            Err(e) => cpu(&e.to_string()),
        }),
    }
}

#[cfg(feature = "gpu")]
async fn gpu() -> Result<Box<dyn Backend>> {
    Ok(Box::new(crate::backend::gpu::GpuBackend::new().await?))
}

#[cfg(not(feature = "gpu"))]
async fn gpu() -> Result<Box<dyn Backend>> {
    Err(crate::backend::BackendError::NoAdapter(
        "this program was built without GPU support".into(),
    )
    .into())
}
