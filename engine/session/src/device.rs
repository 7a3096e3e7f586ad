//! Choosing a backend by what the machine really has.

use super::DeviceChoice;
use crate::error::Result;
use ternary_backend::cpu::CpuBackend;
use ternary_backend::{Backend, BackendOptions};

/// A backend for `choice`, and why it was chosen.
pub async fn open_backend(
    choice: DeviceChoice,
    options: &BackendOptions,
) -> Result<(Box<dyn Backend>, String)> {
    let cpu = |reason: &str| -> (Box<dyn Backend>, String) {
        (
            Box::new(CpuBackend::new(options.threads)),
            reason.to_owned(),
        )
    };
    let (backend, reason) = match choice {
        DeviceChoice::Cpu => cpu("chosen by you"),
        DeviceChoice::Gpu => (gpu(options).await?, "chosen by you".to_owned()),
        DeviceChoice::Auto => match gpu(options).await {
            Ok(backend) if backend.info().software => {
                let name = backend.info().name;
                cpu(&format!(
                    "the only GPU, {name}, is software: the CPU is faster"
                ))
            }
            Ok(backend) => (backend, "a GPU is available".to_owned()),
            Err(e) => cpu(&e.to_string()),
        },
    };
    let info = backend.info();
    log::debug!(
        "device: {} ({}), {reason}; memory: {}",
        info.kind,
        info.name,
        backend.limits()
    );
    Ok((backend, reason))
}

#[cfg(feature = "gpu")]
async fn gpu(options: &BackendOptions) -> Result<Box<dyn Backend>> {
    let options = BackendOptions {
        cache_folder: options
            .cache_folder
            .clone()
            .or_else(ternary_common::platform::cache_folder),
        ..options.clone()
    };
    Ok(Box::new(
        ternary_backend::gpu::GpuBackend::new(&options).await?,
    ))
}

#[cfg(not(feature = "gpu"))]
async fn gpu(_: &BackendOptions) -> Result<Box<dyn Backend>> {
    Err(ternary_backend::BackendError::NoAdapter(
        "this program was built without GPU support".into(),
    )
    .into())
}
