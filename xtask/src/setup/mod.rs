//! What the page and its tests need, found or installed. Everything here may run any number of
//! times.

pub mod aarch64;
pub mod apt;
mod axe;
pub mod browser;
pub mod browsers;
mod clients;
mod debian_toolchain;
pub mod mpi;
pub mod npm;
mod smollm2;
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
    pub axe: PathBuf,
    /// A real model; without it tests are skipped.
    pub smollm2: Option<PathBuf>,
    /// Packages that speak with `onebit serve`; without them tests are skipped.
    pub clients: Option<PathBuf>,
}

/// What builds the page, a browser, a Vulkan driver and axe-core. All that is missing and can't be
/// installed is told at once.
pub fn test_tools() -> Result<TestTools> {
    let found = (
        page_tools(),
        browser::ensure(),
        vulkan::ensure(),
        axe::ensure(),
    );
    match found {
        (Ok(page), Ok(chromium), Ok(()), Ok(axe)) => Ok(TestTools {
            page,
            chromium,
            axe,
            smollm2: smollm2::fetch(),
            clients: clients::fetch(),
        }),
        (page, chromium, vulkan, axe) => {
            let errors = [page.err(), chromium.err(), vulkan.err(), axe.err()];
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
    let TestTools {
        page,
        chromium,
        axe,
        smollm2,
        clients,
    } = test_tools()?;
    step("ready");
    println!("    wasm32        {}", page.toolchain.describe());
    println!("    trunk         {}", page.trunk.program.display());
    println!("    wasm-bindgen  {}", page.wasm_bindgen.program.display());
    println!("    Chromium      {}", chromium.display());
    println!("    axe-core      {}", axe.display());
    if let Some(file) = smollm2 {
        println!("    SmolLM2       {}", file.display());
    }
    if let Some(folder) = clients {
        println!("    clients       {}", folder.display());
    }
    Ok(())
}
