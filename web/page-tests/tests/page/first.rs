//! What is seen first: something at once, nothing that jumps, suggestions that work, a way around
//! with the keyboard.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use page_tests::stage;
use serde_json::Value;

use crate::look::{picture, sound_layout};
use crate::{FINISHED, LAST_REPLY, LOADED, REPLY, START, open};

/// All that moved by itself since the page was opened, as browsers measure it.
pub const SHIFTS: &str = "new Promise(resolve => { const shifts = []; \
    new PerformanceObserver(list => { for (const e of list.getEntries()) if (!e.hadRecentInput) \
        shifts.push([e.value, e.sources.map(s => s.node?.id || s.node?.className || s.node?.nodeName).join()]); }) \
      .observe({ type: 'layout-shift', buffered: true }); setTimeout(() => resolve(shifts), 300); })";

/// Before the program is there, and where it never comes.
#[test]
fn the_page_is_no_blank_before_its_program() -> Result<()> {
    let stage = stage()?;
    let index = fs::read_to_string(stage.dist.join("index.html"))?;
    // One whose program is nowhere.
    let broken = index.replace("data-wasm=\"./app", "data-wasm=\"./no-app");
    ensure!(broken != index);
    stage.server.add("/unstarted.html", broken)?;
    let page = stage
        .browser
        .open(&format!("{}/unstarted.html", stage.server.origin()))?;
    for (device, width, height) in [
        ("wide", 1440, 900),
        ("phone", 390, 844),
        ("narrow", 320, 640),
    ] {
        for scheme in ["light", "dark"] {
            page.emulate(width, height, scheme)?;
            page.wait_for("document.querySelector('#shell h2')", START)?;
            picture(&page, &format!("shell-{device}-{scheme}"))?;
            page.assert_accessible()?;
        }
        sound_layout(&page)?;
    }
    page.wait_for(
        "document.querySelector('#shell-state').innerText.includes('could not start')",
        START,
    )?;
    eprintln!("{}", page.text("#shell-state")?);
    Ok(())
}

#[test]
fn nothing_jumps_while_the_page_starts() -> Result<()> {
    let stage = stage()?;
    for (width, height) in [(1440, 900), (390, 844)] {
        let page = stage
            .browser
            .open(&format!("{}/?device=cpu", stage.server.origin()))?;
        page.emulate(width, height, "light")?;
        page.reload()?;
        page.wait_for(LOADED, START)?;
        let shifts = page.evaluate(SHIFTS)?;
        let all = shifts.as_array().context("no list of shifts")?;
        let sum: f64 = all.iter().filter_map(|shift| shift[0].as_f64()).sum();
        eprintln!("{width} wide: layout shifts of {sum:.3}: {shifts}");
        ensure!(sum < 0.1, "{sum}: {shifts}");
    }
    Ok(())
}

/// Three, and each is answered.
#[test]
fn suggestions_are_answered() -> Result<()> {
    let page = open("?device=cpu")?;
    let count = page.evaluate("document.querySelectorAll('.example').length")?;
    ensure!(count == 3, "{count}");
    ensure!(page.text(".welcome")?.contains("−1, 0 or +1"));
    page.set_field("#max-tokens", "60")?;
    for index in 1..=3 {
        if index > 1 {
            page.click("#new-chat")?;
        }
        let suggestion = format!(".examples li:nth-child({index}) .example");
        page.wait_for(&format!("document.querySelector('{suggestion}')"), START)?;
        page.click(&suggestion)?;
        page.wait_for(FINISHED, REPLY)?;
        let reply = page.text(LAST_REPLY)?;
        eprintln!("{reply}\n");
        ensure!(reply.len() > 40, "{reply}");
    }
    page.assert_clean()
}

#[test]
fn the_keyboard_skips_to_the_content() -> Result<()> {
    let page = open("?device=cpu")?;
    page.evaluate(
        "document.activeElement.blur(); document.body.tabIndex = -1; document.body.focus()",
    )?;
    page.press("Tab")?;
    ensure!(page.evaluate("document.activeElement.className")? == "skip");
    picture(&page, "skip-desktop-light")?;
    page.press("Enter")?;
    page.wait_for("document.activeElement.tagName == 'MAIN'", START)
}

/// The column beside the conversation tells the name, the speed and the device; the rest on demand.
#[test]
fn details_of_the_model_are_behind_info() -> Result<()> {
    let page = open("?model=tiny.1bit&device=cpu")?;
    let shown =
        "document.querySelector('#panel dl').checkVisibility({ contentVisibilityAuto: true })";
    ensure!(page.evaluate(shown)? == false);
    page.set_field("#max-tokens", "12")?;
    crate::kept_chats::answered(&page, "Who is Max?")?;
    let runs = page.text("#runs-at")?;
    ensure!(runs.contains("tokens/s on the CPU"), "{runs}");
    page.click("#model-info summary")?;
    page.wait_for(shown, START)?;
    ensure!(page.text("#panel dl")?.contains("Parameters"));
    page.assert_accessible()?;
    page.assert_clean()
}

/// What Lighthouse thinks of the page, as a first visit.
#[test]
#[ignore = "fetches Lighthouse from npm; `cargo xtask lighthouse` runs it"]
fn lighthouse_is_content() -> Result<()> {
    const LEAST: [(&str, f64); 3] = [
        ("performance", 0.9),
        ("accessibility", 1.0),
        ("best-practices", 1.0),
    ];
    let stage = stage()?;
    let report = page_tests::scratch().join("lighthouse.json");
    let categories = LEAST.map(|(category, _)| category).join(",");
    let status = Command::new("npx")
        .args(["--yes", "--prefer-offline", "lighthouse@12"])
        .arg(format!("{}/", stage.server.origin()))
        // A slow phone on a slow network, in fact: what is reckoned from a fast visit varies by 25
        // points from one run to the next.
        .args(["--quiet", "--throttling-method=devtools"])
        .args(["--output=json", "--output-path"])
        .arg(&report)
        .arg(format!("--only-categories={categories}"))
        .arg("--chrome-flags=--headless=new --no-sandbox --disable-gpu")
        .env("CHROME_PATH", page_tests::chromium()?)
        .status()
        .context("npx")?;
    ensure!(status.success(), "Lighthouse ended with {status}");
    let report: Value = serde_json::from_str(&fs::read_to_string(&report)?)?;
    let mut short = Vec::new();
    for (category, least) in LEAST {
        let score = report["categories"][category]["score"].as_f64();
        let score = score.with_context(|| format!("no score of {category}"))?;
        eprintln!("{category}: {:.0}", score * 100.0);
        if score < least {
            short.push(category);
        }
    }
    let audits = report["audits"].as_object().context("no audits")?;
    for audit in audits.values() {
        let (score, shown) = (audit["score"].as_f64(), &audit["displayValue"]);
        if score.is_some_and(|score| score < 0.9) {
            eprintln!("  {} {shown}", audit["title"]);
        }
    }
    ensure!(short.is_empty(), "too low: {}", short.join(", "));
    Ok(())
}
