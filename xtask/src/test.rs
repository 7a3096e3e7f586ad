//! `cargo xtask test`: native tests, then the built page in a real browser.

use std::env;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, ensure};

use crate::bundle;
use crate::cases::{self, Outcomes};
use crate::check::WEB_CRATE;
use crate::package;
use crate::setup::{self, TestTools, browser};
use crate::shell::{Beside, cargo, output, run, run_tests, run_tests_at_once, step};
use crate::workspace;

/// The tests that need the built page, and so run after it.
const PAGE_TESTS: &str = "page-tests";
/// The command line and the examples that they use are built with the native tests.
const NATIVE: [&str; 4] = ["test", "--workspace", "--exclude", WEB_CRATE];

pub fn test() -> Result<()> {
    let tools = setup::test_tools()?;
    let mut outcomes = Outcomes::new();

    step("native tests, while the page is built");
    // Its programs are made whole one after the other, each by one core.
    let page = Beside::start(Command::new(env::current_exe()?).arg("package"))?;
    let native = run_tests(
        cargo().args(NATIVE).args(["--exclude", PAGE_TESTS]).envs(
            tools
                .clients
                .iter()
                .map(|folder| ("ONEBIT_CLIENTS", folder)),
        ),
        &mut outcomes,
    );
    let page = page.wait();
    native?;
    page?;

    all_page_tests(&tools, &mut outcomes)?;
    cases::table(&outcomes, true)
}

/// The page's tests alone.
pub fn page() -> Result<()> {
    let tools = setup::test_tools()?;
    build_page(&tools)?;
    all_page_tests(&tools, &mut Outcomes::new())
}

/// The page, and the package that its tests use, too.
fn build_page(tools: &TestTools) -> Result<()> {
    bundle::build(&tools.page)?;
    package::assemble()
}

/// Tests of the page that compute all the time, most of them on a GPU in software. The others wait
/// for most of theirs: for slow servers, and for what must not happen.
const COMPUTING: [&str; 4] = ["suite::", "fixtures::", "agreement::", "tune::"];

/// On the page that was built; on several cores in two programs at once, each with a browser of its
/// own.
fn all_page_tests(tools: &TestTools, outcomes: &mut Outcomes) -> Result<()> {
    const PROGRAMS: [&str; 4] = ["--test", "parts", "--test", "page"];
    step("the page's tests, in headless Chromium");
    if thread::available_parallelism().is_ok_and(|cores| cores.get() < 2) {
        return run_tests(&mut page_tests(tools, &PROGRAMS, &[]), outcomes);
    }
    // Built once, before both.
    run(page_tests(tools, &PROGRAMS, &[])
        .arg("--list")
        .stdout(Stdio::null()))?;
    let skipped: Vec<&str> = COMPUTING
        .iter()
        .flat_map(|module| ["--skip", *module])
        .collect();
    run_tests_at_once(
        [
            &mut page_tests(tools, &PROGRAMS, &skipped),
            page_tests(tools, &["--test", "page"], &COMPUTING).env(
                "TERNARY_SCRATCH",
                workspace::root().join("target/page-tests-2"),
            ),
        ],
        outcomes,
    )
}

/// The inputs and uses that broke similar programs, alone.
pub fn cases() -> Result<()> {
    let tools = setup::test_tools()?;
    let mut outcomes = Outcomes::new();
    step("the cases of the command line");
    let native = run_tests(
        cargo()
            .args(NATIVE)
            .args(["--exclude", PAGE_TESTS, "--test", cases::NATIVE]),
        &mut outcomes,
    );
    build_page(&tools)?;
    step("the page's cases, in headless Chromium");
    let page = run_tests(
        &mut page_tests(&tools, &["--test", "page"], &[cases::PAGE]),
        &mut outcomes,
    );
    cases::table(&outcomes, true)?;
    native.and(page)
}

/// The page in Firefox and WebKit, whose tests take two browsers more.
pub fn other_browsers() -> Result<()> {
    let tools = setup::test_tools()?;
    let geckodriver = setup::browsers::ensure()?;
    bundle::build(&tools.page)?;
    step("the page, in Firefox and WebKit");
    run(page_tests(&tools, &["--test", "browsers"], &["--ignored"])
        .env("TERNARY_GECKODRIVER", geckodriver.program))
}

/// The pictures that README.md shows, of the page as it is now.
pub fn screenshots() -> Result<()> {
    let tools = setup::test_tools()?;
    bundle::build(&tools.page)?;
    step("the page's pictures, in docs/images/");
    let pictures = "look::pictures_of_the_readme";
    run(&mut page_tests(
        &tools,
        &["--test", "page"],
        &[pictures, "--ignored", "--exact"],
    ))
}

/// Performance, accessibility and best practices of the built page, which have to be as good as the
/// test says.
pub fn lighthouse() -> Result<()> {
    let tools = setup::test_tools()?;
    bundle::build(&tools.page)?;
    step("Lighthouse, on the built page");
    let test = "first::lighthouse_is_content";
    run(&mut page_tests(
        &tools,
        &["--test", "page"],
        &[test, "--ignored", "--exact", "--nocapture"],
    ))
}

/// The native tests at each level of instructions that this machine has: tests rest on no order of
/// float sums.
pub fn every_simd_level() -> Result<()> {
    run(cargo()
        .args(NATIVE)
        .args(["--exclude", PAGE_TESTS, "--no-run"]))?;
    let levels = output(cargo().args([
        "run",
        "--quiet",
        "-p",
        "onebit",
        "--",
        "bench",
        "--simd-levels",
    ]))
    .context("`onebit bench --simd-levels` fails")?;
    let mut failed = Vec::new();
    for level in levels.lines() {
        step(&format!("native tests, {level}"));
        let tests = run(cargo()
            .args(NATIVE)
            .args(["--exclude", PAGE_TESTS, "--no-fail-fast"])
            .env("ONEBIT_SIMD", level));
        if let Err(e) = tests {
            println!("{e:#}");
            failed.push(level);
        }
    }
    ensure!(failed.is_empty(), "tests fail at {}", failed.join(", "));
    Ok(())
}

/// The CPU kernels of 64-bit ARM, by QEMU: whether they are exact, not how fast they are.
pub fn aarch64() -> Result<()> {
    setup::aarch64::ensure()?;
    step("the CPU backend's tests, for ARM");
    let mut tests = cargo();
    tests.arg("test");
    setup::aarch64::select(&mut tests);
    run(tests
        .args(["-p", "ternary-backend", "--no-default-features"])
        .args(["--features", "native", "--lib", "--", "cpu::"]))
}

/// Several processes that train and search together. `onebit` and its tests are built once more,
/// with MPI: so this is no part of `test`.
pub fn mpi() -> Result<()> {
    setup::mpi::ensure()?;
    step("onebit on several processes");
    // One at a time: each starts more processes than a small machine has cores.
    run(cargo()
        .args(["test", "-p", "onebit", "--features", "mpi", "--test", "mpi"])
        .args(["--", "--test-threads=1"]))
}

/// The page's test programs, as they are always run. `args`: which tests, all if empty.
fn page_tests(tools: &TestTools, programs: &[&str], args: &[&str]) -> Command {
    let mut command = cargo();
    command
        .args(NATIVE)
        .args(programs)
        // One at a time: a software GPU leaves no core for a second page.
        .args(["--", "--test-threads=1"])
        .args(args)
        .env(browser::VARIABLE, &tools.chromium)
        .env("TERNARY_AXE", &tools.axe)
        .envs(tools.smollm2.iter().map(|file| ("ONEBIT_SMOLLM2", file)))
        .env("TERNARY_DIST", workspace::dist());
    command
}
