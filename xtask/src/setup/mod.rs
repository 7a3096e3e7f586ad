//! What the page and its tests need, found or installed. Everything here may run any number of times.

pub mod apt;
pub mod browser;
mod debian_toolchain;
pub mod tools;
pub mod vulkan;
pub mod wasm;

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::shell::step;

/// What builds the page.
pub struct PageTools {
    pub toolchain: wasm::Toolchain,
    pub trunk: tools::Tool,
    pub wasm_bindgen: tools::Tool,
}

/// The wasm target, trunk and wasm-bindgen.
pub fn page_tools() -> Result<PageTools> {
    Ok(PageTools {
        toolchain: wasm::ensure()?,
        trunk: tools::trunk()?,
        wasm_bindgen: tools::wasm_bindgen()?,
    })
}

/// Everything the tests need.
pub struct TestTools {
    pub page: PageTools,
    pub chromium: PathBuf,
}

/// What builds the page, a browser and a Vulkan driver. All that is missing and can't be installed is told at once.
pub fn test_tools() -> Result<TestTools> {
    match (page_tools(), browser::ensure(), vulkan::ensure()) {
        (Ok(page), Ok(chromium), Ok(())) => Ok(TestTools { page, chromium }),
        (page, chromium, vulkan) => {
            let errors = [page.err(), chromium.err(), vulkan.err()];
            let errors: Vec<String> = errors
                .iter()
                .flatten()
                .map(|error| format!("{error:#}"))
                .collect();
            bail!("{}", errors.join("\n\n"))
        }
    }
}

/// Everything `serve` and `test` would set up by themselves.
pub fn everything() -> Result<()> {
    let TestTools { page, chromium } = test_tools()?;
    step("ready");
    println!("    wasm32        {}", page.toolchain.describe());
    println!("    trunk         {}", page.trunk.program.display());
    println!("    wasm-bindgen  {}", page.wasm_bindgen.program.display());
    println!("    Chromium      {}", chromium.display());
    Ok(())
}
