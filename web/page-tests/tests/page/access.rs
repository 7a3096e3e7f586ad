//! Everyone can use it: axe-core's rules in each state, the keyboard alone, less motion.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use page_tests::scratch;

use crate::{FINISHED, REPLY, START, ask, open, open_tiny};

/// More than there are things to stop at.
const TABS: usize = 80;

#[test]
fn every_state_passes_axe() -> Result<()> {
    let page = open("?device=cpu")?;
    for scheme in ["light", "dark"] {
        page.emulate(1280, 800, scheme)?;
        page.assert_accessible()?;
    }
    ask(&page, "Tell me a story about a dog.")?;
    page.wait_for("document.querySelector('#stop')", START)?;
    page.assert_accessible()?;
    page.wait_for(FINISHED, REPLY)?;
    for (width, scheme) in [(1280, "light"), (390, "dark"), (390, "light")] {
        page.emulate(width, 844, scheme)?;
        page.assert_accessible()?;
    }
    page.click("#panel-toggle")?;
    page.assert_accessible()?;
    page.press("Escape")?;
    page.emulate(1280, 800, "light")?;
    page.click("input[name=mode][value=text]")?;
    page.assert_accessible()?;
    let file = scratch().join("not-one.1bit");
    std::fs::write(&file, "no model at all")?;
    page.drop_file(&file)?;
    page.wait_for("document.querySelector('.notice')", START)?;
    for scheme in ["light", "dark"] {
        page.emulate(1280, 800, scheme)?;
        page.assert_accessible()?;
    }
    page.assert_clean()
}

/// The check that every state passes can fail.
#[test]
fn axe_notices() -> Result<()> {
    let page = open_tiny()?;
    page.assert_accessible()?;
    page.evaluate("document.querySelector('#send').innerHTML = ''")?;
    let problem = page
        .assert_accessible()
        .err()
        .map(|error| error.to_string());
    ensure!(
        problem
            .as_ref()
            .is_some_and(|text| text.contains("button-name")),
        "{problem:?}"
    );
    Ok(())
}

/// Everything that can be operated is reached with Tab, and shows that it has the keyboard.
#[test]
fn the_keyboard_reaches_everything() -> Result<()> {
    let page = open_tiny()?;
    page.wait_for("document.querySelector('#kept li')", START)?;
    ask(&page, "Who is Max?")?;
    page.wait_for(FINISHED, REPLY)?;
    let text = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    // Of radio buttons Tab reaches the chosen one, arrows the others.
    page.evaluate(
        "window.label = e => e.id || e.name || e.getAttribute('aria-label') || e.innerText; \
         window.operable = [...document.querySelectorAll('button, input, textarea, [tabindex=\"0\"]')] \
           .filter(e => e.checkVisibility() && !e.disabled && !(e.type == 'radio' && !e.checked)).map(label)",
    )?;
    let mut reached = BTreeSet::new();
    for _ in 0..TABS {
        page.press("Tab")?;
        let seen = page.evaluate(
            "(() => { const e = document.activeElement; if (e == document.body) return ''; \
             const shown = [e, e.nextElementSibling].some(e => e && getComputedStyle(e).outlineStyle != 'none'); \
             return (shown ? '' : 'unseen: ') + label(e); })()",
        )?;
        reached.insert(text(seen));
    }
    let unseen: Vec<&String> = reached
        .iter()
        .filter(|name| name.starts_with("unseen: "))
        .collect();
    ensure!(unseen.is_empty(), "no outline: {unseen:?}");
    let wanted = page.evaluate("operable")?;
    for name in wanted.as_array().into_iter().flatten() {
        let name = text(name.clone());
        ensure!(reached.contains(&name), "`{name}` is not among {reached:?}");
    }
    ensure!(reached.contains("Delete tiny.1bit"), "{reached:?}");
    Ok(())
}

#[test]
fn less_motion_where_it_is_asked_for() -> Result<()> {
    let page = open_tiny()?;
    page.prefer("prefers-reduced-motion", "reduce")?;
    let moving = page.evaluate(
        "[...document.querySelectorAll('*')].filter(e => ['', '::before', '::after'].some(part => { \
           const style = getComputedStyle(e, part || null); \
           return style.animationName != 'none' || parseFloat(style.transitionDuration) > 0; })).length",
    )?;
    ensure!(moving == 0, "{moving} elements move");
    Ok(())
}
