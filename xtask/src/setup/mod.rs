//! What the page and its tests need, found or installed. Everything here may run any number of times.

pub mod apt;
pub mod browser;
mod debian_toolchain;
pub mod tools;
pub mod vulkan;
pub mod wasm;

use anyhow::Result;

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

/// Everything `serve` and `test` would set up by themselves.
pub fn everything() -> Result<()> {
    let page = page_tools()?;
    let browser = browser::ensure()?;
    vulkan::ensure()?;
    step("ready");
    println!("    wasm32        {}", page.toolchain.describe());
    println!("    trunk         {}", page.trunk.program.display());
    println!("    wasm-bindgen  {}", page.wasm_bindgen.program.display());
    println!("    Chromium      {}", browser.display());
    Ok(())
}
