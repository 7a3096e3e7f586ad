//! A Vulkan driver for the native GPU tests: the machine's own, or Mesa's software one.

use std::path::Path;

use anyhow::Result;

use super::apt;

/// Where drivers announce themselves, and where the loader may be.
const DRIVER_FOLDERS: [&str; 3] = [
    "/usr/share/vulkan/icd.d",
    "/usr/local/share/vulkan/icd.d",
    "/etc/vulkan/icd.d",
];
const LIBRARY_FOLDERS: [&str; 5] = [
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
];

pub fn ensure() -> Result<()> {
    // macOS and Windows bring their own GPU interfaces.
    if !cfg!(target_os = "linux") || is_installed() {
        return Ok(());
    }
    apt::install(
        &["mesa-vulkan-drivers", "libvulkan1"],
        "The GPU tests need a Vulkan driver; without a graphics card Mesa's software driver serves.",
        "a Vulkan driver and its loader (mesa-vulkan-drivers and libvulkan1, or your card's own)",
    )
}

fn is_installed() -> bool {
    let named = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"]
        .iter()
        .any(|name| std::env::var_os(name).is_some());
    let driver = named
        || DRIVER_FOLDERS
            .iter()
            .filter_map(|folder| Path::new(folder).read_dir().ok())
            .flat_map(|files| files.flatten())
            .any(|file| {
                file.path()
                    .extension()
                    .is_some_and(|extension| extension == "json")
            });
    let loader = LIBRARY_FOLDERS
        .iter()
        .any(|folder| Path::new(folder).join("libvulkan.so.1").exists());
    driver && loader
}
