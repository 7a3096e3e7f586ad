//! Set-up, serve, test and the checks CI runs: `cargo xtask help`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command whose whole output is what it prints"
)]

mod bench;
mod bundle;
mod bundlers;
mod cases;
mod check;
mod docs;
mod fuzz;
mod links;
mod npm;
mod package;
mod serve;
mod setup;
mod shell;
mod shipped_text;
mod test;
mod types;
mod workspace;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};

const HELP: &str = "\
cargo xtask <command>

  serve [-- trunk options]   set up what the page needs, build it and serve it
  test                       set up, run the native tests, then the page's tests in headless Chromium
  setup                      only the set-up, for both
  check                      formatting, clippy (native, wasm32, without std), dependencies, documentation, links
  types                      docs/openapi.json, and the types of the npm package's requests and answers, from the server's tables
  docs                       the book in target/book/, with docs/commands/ written anew
  screenshots                the pictures of the page in docs/images/, from a build of it
  build-web [--no-hub]       the release page in dist/, within its size budget; --no-hub: one that asks no other site for models
  package                    the engine for other pages, as an npm package in target/npm/
  lighthouse                 what npm's Lighthouse thinks of the page
  cases                      the inputs and uses that broke similar programs, as a table
  test-simd                  the native tests at each SIMD level that this machine has
  test-aarch64               the CPU kernels of 64-bit ARM, run by QEMU: exactness, not speed
  test-page                  the page's tests alone
  test-browsers              the page in Firefox and WebKit, Safari's engine (installed if need be)
  test-mpi                   onebit on several processes, built with MPI (installed if need be)
  fuzz [MINUTES]             hostile files for every parser, for so long (default 10), with the figures
  ci                         check, test-aarch64, then test
  bench-wllama [MODEL.gguf]  decoding and prefill in a page, beside llama.cpp in WebAssembly (npm's wllama): CPU, one thread each and two
  bench-peers [--shape 100m|2b4t] [--rounds N] [--threads N,N] [--prompts N,N] [--contexts N,N] [--levels NAME,NAME]
                             prefill and decode beside ik_llama.cpp and llama.cpp (PyPI), in turn: medians and ratios
  shipped-text SHARED OUT    the training text of the shipped model, from SHARED/data
  help                       this text

The page needs the wasm32 target, trunk and wasm-bindgen; the tests also Chromium, a Vulkan driver and axe-core.
Whatever is missing is announced before it is installed. Tools built from crates.io go to
$XDG_CACHE_HOME/ternary-core (default ~/.cache/ternary-core), never to ~/.cargo/bin.
";

fn main() -> ExitCode {
    match dispatch() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", [].as_slice()),
    };
    if let Some("--help" | "-h") = rest.first().map(String::as_str) {
        print!("{HELP}");
        return Ok(());
    }
    let takes_some = [
        "serve",
        "fuzz",
        "shipped-text",
        "bench-wllama",
        "bench-peers",
        "build-web",
    ];
    if !takes_some.contains(&command) && !rest.is_empty() {
        bail!("`{command}` takes no arguments, found `{}`", rest.join(" "));
    }
    match command {
        "serve" => serve::serve(rest),
        "test" => test::test(),
        "setup" => setup::everything(),
        "check" => check::check(),
        "types" => types::write(),
        "docs" => docs::build(),
        "screenshots" => test::screenshots(),
        "build-web" => match rest {
            [] => bundle::set_up_and_build(),
            [flag] if flag == "--no-hub" => bundle::set_up_and_build_without_hub(),
            _ => bail!("usage: cargo xtask build-web [--no-hub]"),
        },
        "package" => package::build_and_assemble(),
        "lighthouse" => test::lighthouse(),
        "cases" => test::cases(),
        "test-simd" => test::every_simd_level(),
        "test-aarch64" => test::aarch64(),
        "test-page" => test::page(),
        "test-browsers" => test::other_browsers(),
        "test-mpi" => test::mpi(),
        "fuzz" => match rest {
            [] => fuzz::run(10),
            [minutes] => fuzz::run(minutes.parse().context("minutes are a whole number")?),
            _ => bail!("usage: cargo xtask fuzz [MINUTES]"),
        },
        "ci" => check::check()
            .and_then(|()| test::aarch64())
            .and_then(|()| test::test()),
        "shipped-text" => match rest {
            [shared, out] => shipped_text::run(shared.as_ref(), out.as_ref()),
            _ => bail!("usage: cargo xtask shipped-text SHARED OUT"),
        },
        "bench-wllama" => match rest {
            [] => bench::beside_wllama(None),
            [gguf] => bench::beside_wllama(Some(gguf.as_ref())),
            _ => bail!("usage: cargo xtask bench-wllama [MODEL.gguf]"),
        },
        "bench-peers" => bench::beside_peers(rest),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => bail!("no command `{other}`\n\n{HELP}"),
    }
}
