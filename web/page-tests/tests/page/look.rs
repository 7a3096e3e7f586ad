//! How the page looks: pictures to be looked at, and what can be measured about them.

use std::time::Duration;

use anyhow::{Result, ensure};
use page_tests::{Page, root, scratch};

use crate::explorer::{UP, explore, inspect};
use crate::{FINISHED, REPLY, START, ask, open};

const SIZES: [(&str, u32, u32); 3] = [
    ("wide", 1440, 900),
    ("tablet", 1024, 768),
    ("phone", 390, 844),
];
/// The narrowest phones, and a window of 1280 × 800 whose reader has everything at 200 %.
const SMALL: [(&str, u32, u32); 2] = [("narrow", 320, 640), ("zoomed", 640, 400)];
/// A few steps of a fine-tuning on a busy machine.
const LEARNT: Duration = Duration::from_secs(420);
const SCHEMES: [&str; 2] = ["light", "dark"];

#[test]
fn every_size_light_and_dark() -> Result<()> {
    for (device, width, height) in SIZES {
        let page = open("?device=cpu")?;
        for scheme in SCHEMES {
            page.emulate(width, height, scheme)?;
            picture(&page, &format!("welcome-{device}-{scheme}"))?;
        }
        ask(&page, "Tell me a story about a dog.")?;
        page.wait_for(FINISHED, REPLY)?;
        for scheme in SCHEMES {
            page.emulate(width, height, scheme)?;
            picture(&page, &format!("chat-{device}-{scheme}"))?;
            sound_layout(&page)?;
        }
        page.assert_clean()?;
    }
    Ok(())
}

#[test]
fn fine_tuning_in_every_size() -> Result<()> {
    let page = open("?device=cpu")?;
    page.click("input[name=mode][value=tune]")?;
    page.wait_for("document.querySelector('#tune-example')", START)?;
    page.click("#tune-example")?;
    page.wait_for("document.querySelector('#tune-plan')", START)?;
    for (device, width, height) in SIZES {
        for scheme in SCHEMES {
            page.emulate(width, height, scheme)?;
            picture(&page, &format!("tune-{device}-{scheme}"))?;
            sound_layout(&page)?;
            page.assert_accessible()?;
        }
    }
    page.assert_clean()
}

/// No part scrolls sideways, and the prompt is there without scrolling.
#[test]
fn narrow_windows_and_large_type() -> Result<()> {
    let page = open("?device=cpu")?;
    page.set_field("#max-tokens", "12")?;
    ask(&page, "Tell me a story about a dog.")?;
    page.wait_for(FINISHED, REPLY)?;
    for (part, shown) in [
        ("chat", "#prompt"),
        ("text", "#prompt"),
        ("map", ".grid .cell"),
        ("tune", "#tune-text"),
        ("models", "#catalogue .card"),
    ] {
        page.emulate(1280, 800, "light")?;
        match part {
            "models" => page.click("#switcher")?,
            _ => page.click(&format!("input[name=mode][value={part}]"))?,
        }
        page.wait_for(&format!("document.querySelector('{shown}')"), START)?;
        for (size, width, height) in SMALL {
            page.emulate(width, height, "light")?;
            picture(&page, &format!("{part}-{size}-light"))?;
            sound_layout(&page)?;
            let below = page.evaluate(&format!(
                "document.querySelector('{shown}').getBoundingClientRect().bottom - innerHeight"
            ))?;
            ensure!(
                shown != "#prompt" || below.as_f64().is_some_and(|below| below <= 0.0),
                "{part}, {size}: the prompt is {below} pixels too low"
            );
        }
    }
    page.assert_clean()
}

#[test]
fn states() -> Result<()> {
    let page = open("?device=cpu")?;
    page.emulate(390, 844, "light")?;
    page.click("#panel-toggle")?;
    picture(&page, "panel-phone-light")?;
    sound_layout(&page)?;
    page.evaluate("document.querySelector('#reset-settings').scrollIntoView()")?;
    picture(&page, "settings-phone-light")?;
    page.press("Escape")?;
    page.wait_for(
        "getComputedStyle(document.querySelector('#panel')).display == 'none'",
        START,
    )?;

    page.emulate(1280, 800, "light")?;
    page.click("input[name=mode][value=text]")?;
    ask(&page, "Once upon a time")?;
    page.wait_for(FINISHED, REPLY)?;
    picture(&page, "text-desktop-light")?;
    let file = scratch().join("no-model.1bit");
    std::fs::write(&file, "no model at all")?;
    page.drag_over(&file)?;
    picture(&page, "drop-desktop-light")?;
    page.drop_file(&file)?;
    page.wait_for("document.querySelector('.notice')", START)?;
    for scheme in SCHEMES {
        page.emulate(1280, 800, scheme)?;
        picture(&page, &format!("error-desktop-{scheme}"))?;
    }
    sound_layout(&page)?;
    page.assert_clean()
}

/// The pictures that README.md and docs/page.md show.
#[test]
#[ignore = "writes into docs/images: `cargo xtask screenshots`"]
fn pictures_of_the_readme() -> Result<()> {
    let page = open("?device=cpu")?;
    // The same reply each time.
    page.set_field("#seed", "1")?;
    ask(&page, "Tell me a story about a dog.")?;
    page.wait_for(FINISHED, REPLY)?;
    let shot =
        |page: &Page, name: &str| page.screenshot(&root().join(format!("docs/images/{name}.png")));
    for scheme in SCHEMES {
        page.emulate(1280, 800, scheme)?;
        shot(&page, &format!("chat-{scheme}"))?;
    }
    page.emulate(390, 844, "light")?;
    shot(&page, "chat-phone-light")?;
    page.emulate(1440, 900, "light")?;
    page.click("#switcher")?;
    page.wait_for("document.querySelector('.expected')", REPLY)?;
    for scheme in SCHEMES {
        page.emulate(1440, 900, scheme)?;
        shot(&page, &format!("models-{scheme}"))?;
    }
    page.click("input[name=mode][value=tune]")?;
    page.wait_for("document.querySelector('#tune-example-chat')", START)?;
    page.click("#tune-example-chat")?;
    page.set_field("#tune-steps", "40")?;
    page.wait_for("!document.querySelector('#tune-start').disabled", START)?;
    page.click("#tune-start")?;
    page.wait_for("document.querySelector('[data-phase=Done]')", LEARNT)?;
    for scheme in SCHEMES {
        page.emulate(1440, 900, scheme)?;
        shot(&page, &format!("tune-{scheme}"))?;
    }
    page.assert_clean()?;
    // The map takes the colors that hold when it is drawn, so each scheme has a page of its own.
    for scheme in SCHEMES {
        let page = open("?device=cpu")?;
        page.emulate(1440, 900, scheme)?;
        explore(&page)?;
        inspect(&page, UP)?;
        // Near enough to tell −1, 0 and +1 apart.
        for _ in 0..3 {
            page.click("#zoom-in")?;
        }
        page.evaluate("document.querySelector('#explorer').scrollTo(0, 0)")?;
        // Two frames: the first may have been asked for before the last click.
        page.evaluate(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))",
        )?;
        shot(&page, &format!("bitmap-{scheme}"))?;
        page.assert_clean()?;
    }
    let page = open("?device=cpu")?;
    page.emulate(390, 844, "dark")?;
    explore(&page)?;
    page.evaluate("document.querySelector('#explorer').scrollTo(0, 0)")?;
    shot(&page, "bitmap-phone-dark")
}

/// Nothing sticks out sideways, and everything that can be operated has a name.
pub fn sound_layout(page: &Page) -> Result<()> {
    let wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")?;
    ensure!(wide == 0, "the page is {wide} pixels too wide");
    let nameless = page.evaluate(
        "[...document.querySelectorAll('button, input:not([hidden]), textarea, meter, progress')] \
         .filter(e => !(e.innerText?.trim() || e.labels?.length || e.getAttribute('aria-label'))).map(e => e.outerHTML).join()",
    )?;
    ensure!(nameless == "", "nameless: {nameless}");
    Ok(())
}

pub fn picture(page: &Page, name: &str) -> Result<()> {
    page.screenshot(&root().join(format!("target/page-screenshots/{name}.png")))
}
