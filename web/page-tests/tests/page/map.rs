//! The bit-map as a whole: what is seen at once, what it is colored by, what is marked and changed
//! together, and what can be taken along of it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use page_tests::{Page, onebit, root, scratch, stage};

use crate::explorer::{UP, explore, has_color, inspect, saved, temporary};
use crate::look::{picture, sound_layout};
use crate::{LOADED, REPLY, START, open, open_tiny};

const DOWN: &str = "[data-parameter='model.layers.3.mlp.down_proj.weight']";
const QUERY: &str = "[data-parameter='model.layers.0.self_attn.q_proj.weight']";
const EMBEDDING: &str = "[data-parameter='model.embed_tokens.weight']";
/// All that is asked of the engine about the map has been answered.
const KNOWN: &str = "![...document.querySelectorAll('.cell')].some(cell => cell.innerText == '·')";
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

fn count(page: &Page, selector: &str) -> Result<u64> {
    let count = page.evaluate(&format!("document.querySelectorAll(\"{selector}\").length"))?;
    count.as_u64().context("no number")
}

fn cell(page: &Page, cell: &str) -> Result<String> {
    page.text(cell)
}

fn color_by(page: &Page, overview: &str) -> Result<()> {
    page.click(&format!("input[name=overview][value={overview}]"))?;
    page.wait_for(
        &format!("document.querySelector('.cell.heat') && {KNOWN}"),
        REPLY,
    )
}

fn choose(page: &Page, mode: &str) -> Result<()> {
    page.click(&format!("input[name=matrix-mode][value={mode}]"))
}

/// Width and height of a PNG.
fn size_of(png: &[u8]) -> Result<(u32, u32)> {
    ensure!(png.starts_with(PNG), "no PNG");
    let number = |at: usize| -> Result<u32> { Ok(u32::from_be_bytes(png[at..at + 4].try_into()?)) };
    Ok((number(16)?, number(20)?))
}

/// Both the map and the open matrix, without scrolling, wherever there is room.
#[test]
fn the_map_and_a_matrix_are_seen_at_once() -> Result<()> {
    let page = open("?device=cpu")?;
    explore(&page)?;
    // One is open without being asked for.
    page.wait_for("document.querySelector('#weights')", START)?;
    inspect(&page, UP)?;
    let sentence = page.text("#matrix-sentence")?;
    ensure!(
        sentence.starts_with("Each square is one weight: −1, 0 or +1, times its scale."),
        "{sentence}"
    );
    ensure!(page.text("#legend")?.contains("ternary"), "no legend");
    for (width, height) in [(1440, 900), (1280, 800), (1024, 768)] {
        for scheme in ["light", "dark"] {
            page.emulate(width, height, scheme)?;
            page.evaluate("document.querySelector('#explorer').scrollTo(0, 0)")?;
            let seen = page.evaluate(
                "(() => { const box = s => document.querySelector(s).getBoundingClientRect(); \
                 const map = box('.grid'), matrix = box('#weights'); \
                 return [map.right <= matrix.left, map.bottom <= innerHeight, matrix.bottom <= innerHeight, \
                   matrix.height >= innerHeight / 4, matrix.width >= 300].map(Number).join(''); })()",
            )?;
            picture(&page, &format!("map-{width}-{scheme}"))?;
            ensure!(seen == "11111", "{width} × {height}: {seen}");
            sound_layout(&page)?;
            page.assert_accessible()?;
        }
    }
    for (width, height) in [(390, 844), (320, 640)] {
        for scheme in ["light", "dark"] {
            page.emulate(width, height, scheme)?;
            picture(&page, &format!("map-{width}-{scheme}"))?;
            sound_layout(&page)?;
            page.assert_accessible()?;
        }
        page.evaluate("document.querySelector('.matrix').scrollIntoView()")?;
        picture(&page, &format!("map-{width}-matrix"))?;
    }
    page.assert_clean()
}

/// A matrix much taller than wide is cut into strips that fill the room.
#[test]
fn tall_matrices_use_the_width() -> Result<()> {
    let page = open("?device=cpu")?;
    explore(&page)?;
    inspect(&page, EMBEDDING)?;
    let sentence = page.text("#matrix-sentence")?;
    ensure!(sentence.contains("strips, side by side"), "{sentence}");
    let filled = "(() => { const c = document.querySelector('#weights'); const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; \
         let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n * 4 / d.length; })()";
    page.wait_for(&format!("{filled} > 0.6"), START)?;
    // What is pointed at is what the file has there, in any strip.
    page.hover_at("#weights", 0.6, 0.55)?;
    page.wait_for(
        "document.querySelector('#weight-at').innerText.startsWith('Row ')",
        START,
    )?;
    let told = page.text("#weight-at")?;
    let row: usize = told
        .trim_start_matches("Row ")
        .split(',')
        .next()
        .unwrap_or_default()
        .parse()?;
    ensure!(row > 300, "{told}");
    picture(&page, "map-embedding")?;
    // Zooming in shows weights, not the room between two strips.
    for _ in 0..4 {
        page.click("#zoom-in")?;
    }
    page.wait_for(&format!("{filled} > 0.95"), START)?;
    page.assert_clean()
}

#[test]
fn the_map_is_colored_by_what_one_asks() -> Result<()> {
    let page = open_tiny()?;
    explore(&page)?;
    inspect(&page, UP)?;
    ensure!(cell(&page, UP)? == "1.58", "{}", cell(&page, UP)?);
    let zeros = page.text(".shares li:nth-child(2)")?;
    color_by(&page, "bytes")?;
    ensure!(cell(&page, UP)?.ends_with('k'), "{}", cell(&page, UP)?);
    ensure!(
        page.text("#legend")?.contains("kB"),
        "{}",
        page.text("#legend")?
    );
    color_by(&page, "zeros")?;
    let share = |text: &str| -> Result<f64> {
        let digits = text.trim_matches(|c: char| !c.is_ascii_digit());
        digits
            .rsplit(char::is_whitespace)
            .next()
            .unwrap_or_default()
            .parse()
            .context(text.to_owned())
    };
    let (told, shown) = (share(&zeros)?, share(&cell(&page, UP)?)?);
    ensure!(
        (told - shown).abs() < 0.6,
        "{zeros} and {}",
        cell(&page, UP)?
    );
    color_by(&page, "scale")?;
    let hottest = page.evaluate(
        "Math.max(...[...document.querySelectorAll('.cell')].map(e => Number(e.style.getPropertyValue('--heat'))))",
    )?;
    ensure!(hottest == 1, "{hottest}");
    // What an edit costs, and where.
    color_by(&page, "error")?;
    ensure!(cell(&page, UP)? == "0%", "{}", cell(&page, UP)?);
    choose(&page, "binary")?;
    page.wait_for(
        &format!("{KNOWN} && !document.querySelector(\"{UP}\").innerText.startsWith('0')"),
        REPLY,
    )?;
    ensure!(cell(&page, QUERY)? == "0%", "{}", cell(&page, QUERY)?);
    picture(&page, "map-error")?;
    page.assert_accessible()?;
    // Flips are there with a file beside.
    ensure!(page.evaluate("document.querySelector('input[value=flips]').disabled")? == true);
    let (_, bytes) = saved(&page, "#export-map")?;
    page.choose_file("[data-for=compare]", &temporary("flips.1bit", &bytes)?)?;
    page.wait_for(
        "!document.querySelector('input[value=flips]').disabled",
        START,
    )?;
    color_by(&page, "flips")?;
    ensure!(cell(&page, UP)? == "100%" && cell(&page, QUERY)? == "0%");
    // And the error is against that file: the edited matrix is as it has it.
    color_by(&page, "error")?;
    ensure!(cell(&page, UP)? == "0%", "{}", cell(&page, UP)?);
    ensure!(
        page.text("#legend")?.contains("Tiny"),
        "{}",
        page.text("#legend")?
    );
    page.assert_clean()
}

#[test]
fn rows_columns_and_areas_are_changed_together() -> Result<()> {
    let page = open_tiny()?;
    explore(&page)?;
    inspect(&page, UP)?;
    let marked = "document.querySelectorAll('.cell.marked').length";
    page.click("[aria-label='All of Layer 2']")?;
    page.wait_for(&format!("{marked} == 7"), START)?;
    ensure!(page.text("#matrix-title")?.contains("and 6 others"));
    page.click("[aria-label='All up']")?;
    page.wait_for(&format!("{marked} == 4"), START)?;
    let before = page.text("#map-size")?;
    choose(&page, "binary")?;
    page.wait_for(
        "document.querySelectorAll('.cell.binary').length == 4",
        START,
    )?;
    ensure!(page.text("#map-size")? != before, "{before}");
    ensure!(
        page.text("#marked-size")?.contains("instead of"),
        "{}",
        page.text("#marked-size")?
    );
    page.click("#undo-map")?;
    page.wait_for(
        "document.querySelectorAll('.cell.binary').length == 0",
        START,
    )?;
    // An area: layers 0 to 3, from the first column to the last.
    page.drag_between(QUERY, DOWN)?;
    page.wait_for(&format!("{marked} == 28"), START)?;
    choose(&page, "eightbit")?;
    page.wait_for(
        "document.querySelectorAll('.cell.eightbit').length == 28",
        START,
    )?;
    page.click("#preset-loaded")?;
    page.wait_for(
        "document.querySelectorAll('.cell.eightbit').length == 0",
        START,
    )?;
    page.click("#preset-ternary")?;
    page.wait_for("!document.querySelector('.cell:not(.ternary)')", START)?;
    page.click("#preset-ends")?;
    page.wait_for(
        &format!("document.querySelector(\"{EMBEDDING}\").matches('.eightbit')"),
        START,
    )?;
    ensure!(count(&page, ".cell.eightbit")? < 3);
    page.assert_clean()
}

/// The keyboard stops once at the map, and goes everywhere in it.
#[test]
fn the_map_is_one_stop_of_the_tab_key() -> Result<()> {
    let page = open_tiny()?;
    explore(&page)?;
    inspect(&page, QUERY)?;
    let stops = "document.querySelectorAll('.grid [tabindex=\"0\"]').length";
    ensure!(page.evaluate(stops)? == 1);
    page.evaluate("document.querySelector('.grid [tabindex=\"0\"]').focus()")?;
    let at = "document.activeElement.ariaLabel";
    page.press("ArrowDown")?;
    page.press("ArrowRight")?;
    ensure!(
        page.evaluate(at)?
            .as_str()
            .is_some_and(|at| at.starts_with("Layer 1, k")),
        "{}",
        page.evaluate(at)?
    );
    ensure!(page.evaluate(stops)? == 1);
    page.press("Enter")?;
    page.wait_for(
        "document.querySelector('.matrix').dataset.open == 'model.layers.1.self_attn.k_proj.weight'",
        START,
    )?;
    page.press_with_shift("ArrowRight")?;
    page.press_with_shift("ArrowDown")?;
    page.wait_for(
        "document.querySelectorAll('.cell.marked').length == 4",
        START,
    )?;
    for _ in 0..3 {
        page.press("ArrowLeft")?;
    }
    ensure!(
        page.evaluate(at)? == "All of Layer 2",
        "{}",
        page.evaluate(at)?
    );
    for _ in 0..4 {
        page.press("ArrowUp")?;
    }
    ensure!(page.evaluate(at)? == "All q", "{}", page.evaluate(at)?);
    page.press("Enter")?;
    page.wait_for(
        "document.querySelectorAll('.cell.marked').length == 4",
        START,
    )?;
    // Tab leaves it.
    page.press("Tab")?;
    ensure!(page.evaluate("Boolean(document.activeElement.closest('.grid'))")? == false);
    page.assert_clean()
}

/// Another precision is seen before anything is saved in it.
#[test]
fn a_chosen_precision_is_seen_at_once() -> Result<()> {
    let page = open_tiny()?;
    explore(&page)?;
    inspect(&page, UP)?;
    page.wait_for(&has_color("--zero"), START)?;
    choose(&page, "binary")?;
    page.wait_for(
        "document.querySelector('.matrix > .figures').innerText.includes('binary')",
        START,
    )?;
    page.wait_for(&format!("!({})", has_color("--zero")), START)?;
    ensure!(
        page.text(".shares")?.contains("0.0 %"),
        "{}",
        page.text(".shares")?
    );
    let error = page.text("#matrix-error")?;
    ensure!(error.contains("% from the loaded file"), "{error}");
    // Codes and scales are those of the file that would be saved.
    page.evaluate("document.querySelector('#weights').focus()")?;
    page.press("ArrowDown")?;
    let shown = page.text("#weight-at")?;
    let (_, bytes) = saved(&page, "#export-map")?;
    let file = temporary("previewed.1bit", &bytes)?;
    let code = onebit::code(&file, "model.layers.1.mlp.up_proj.weight", 1, 0)?;
    ensure!(
        shown.contains(&format!(": {code:+} × ")),
        "{shown} but {code}"
    );
    for (mode, sentence) in [
        ("eightbit", "−127 to 127"),
        ("f16", "the stronger its color"),
    ] {
        choose(&page, mode)?;
        page.wait_for(
            &format!("document.querySelector('#matrix-sentence').innerText.includes('{sentence}')"),
            START,
        )?;
    }
    page.assert_clean()
}

#[test]
fn profiles_show_what_stands_out() -> Result<()> {
    let page = open("?device=cpu")?;
    explore(&page)?;
    inspect(&page, EMBEDDING)?;
    page.wait_for("document.querySelectorAll('.profile').length == 2", START)?;
    let rows = page.text(".profile figcaption")?;
    ensure!(rows.contains("row's weights"), "{rows}");
    ensure!(
        page.text(".profiles")?.contains("Weights: 786,432 values"),
        "{}",
        page.text(".profiles")?
    );
    // Tokens that the training never saw have rows of their own kind.
    let named = page.text(".outlier")?;
    page.click(".outlier")?;
    let row = named.split(',').next().unwrap_or_default();
    page.wait_for(
        &format!("document.querySelector('#weight-at').innerText.startsWith('{row},')"),
        START,
    )?;
    choose(&page, "eightbit")?;
    page.wait_for(
        "document.querySelector('.profiles').innerText.includes('Scales: ')",
        START,
    )?;
    page.assert_clean()
}

/// The address leads to the same matrix, seen as closely.
/// A finger that rests on a cell marks from there on; one that does not scrolls.
#[test]
fn fingers_mark_and_scroll() -> Result<()> {
    let page = open("?device=cpu")?;
    explore(&page)?;
    page.emulate(390, 500, "light")?;
    page.touch_screen()?;
    let marked = "document.querySelectorAll('.cell.marked').length";
    let top = "document.querySelector('#explorer').scrollTop";
    page.wait_for(&format!("{marked} == 1"), START)?;
    let (query, up) = (
        "[data-parameter='model.layers.0.self_attn.q_proj.weight']",
        "[data-parameter='model.layers.2.mlp.up_proj.weight']",
    );
    page.evaluate(&format!(
        "document.querySelector(\"{query}\").scrollIntoView({{ block: 'center' }})"
    ))?;
    let before = page.evaluate(top)?;
    page.touch_drag(query, up, Duration::from_millis(700))?;
    page.wait_for(&format!("{marked} == 18"), START)?;
    ensure!(page.evaluate(top)? == before, "it scrolled");
    picture(&page, "map-touch-marked")?;
    choose(&page, "eightbit")?;
    page.wait_for(
        "document.querySelectorAll('.cell.eightbit').length >= 18",
        START,
    )?;
    // At once: the page goes along with the finger.
    page.touch_drag(up, query, Duration::ZERO)?;
    page.wait_for(&format!("{top} != {before}"), START)?;
    ensure!(page.evaluate(marked)? == 18);
    // A tap opens.
    page.evaluate(&format!(
        "document.querySelector(\"{query}\").scrollIntoView({{ block: 'center' }})"
    ))?;
    page.tap(query)?;
    page.wait_for(
        &format!(
            "{marked} == 1 && document.querySelector(\"{query}\").classList.contains('selected')"
        ),
        START,
    )?;
    page.assert_clean()
}

#[test]
fn pens_mark_after_a_rest() -> Result<()> {
    let page = open("?device=cpu")?;
    explore(&page)?;
    let marked = "document.querySelectorAll('.cell.marked').length";
    page.wait_for(&format!("{marked} == 1"), START)?;
    let (query, up) = (
        "[data-parameter='model.layers.0.self_attn.q_proj.weight']",
        "[data-parameter='model.layers.2.mlp.up_proj.weight']",
    );
    page.evaluate(
        "window.pointers = new Set(); addEventListener('pointerdown', e => pointers.add(e.pointerType), true); 0",
    )?;
    // At once it is no mark: a pen on a touch screen scrolls so.
    page.pen_drag(query, up, Duration::ZERO)?;
    ensure!(page.evaluate("[...pointers].join()")? == "pen");
    ensure!(page.evaluate(marked)? == 1);
    page.pen_drag(query, up, Duration::from_millis(700))?;
    page.wait_for(&format!("{marked} == 18"), START)?;
    // The pen is up: what it passes now is not marked.
    page.hover("[data-parameter='model.layers.5.mlp.down_proj.weight']")?;
    ensure!(page.evaluate(marked)? == 18);
    picture(&page, "map-pen-marked")?;
    choose(&page, "eightbit")?;
    page.wait_for(
        "document.querySelectorAll('.cell.eightbit').length >= 18",
        START,
    )?;
    page.assert_clean()
}

/// A matrix of more weights than a preview is made of is shown as its file has it, and why is told.
#[test]
fn a_matrix_too_large_for_a_preview_is_shown_all_the_same() -> Result<()> {
    let file = scratch().join("many-rows.1bit");
    onebit::with_vocabulary(onebit::tiny_model()?, 36_000_000, &file)?;
    let page = open_tiny()?;
    page.drop_file(&file)?;
    page.wait_for("document.querySelector('#keep')", START)?;
    explore(&page)?;
    inspect(&page, EMBEDDING)?;
    ensure!(
        page.evaluate("document.querySelector('#matrix-unseen')")?
            .is_null()
    );
    choose(&page, "binary")?;
    page.wait_for("document.querySelector('#matrix-unseen')", REPLY)?;
    let told = page.text("#matrix-unseen")?;
    ensure!(
        told.contains("at most 33554432") && told.contains("as the file has it"),
        "{told}"
    );
    // From the start in a precision that it can't be shown in.
    inspect(&page, QUERY)?;
    inspect(&page, EMBEDDING)?;
    page.wait_for(
        "document.querySelector('#weights') && document.querySelector('#matrix-unseen')",
        REPLY,
    )?;
    picture(&page, "map-no-preview")?;
    page.assert_accessible()?;
    page.assert_clean()
}

#[test]
fn a_link_opens_the_same_view() -> Result<()> {
    let page = open_tiny()?;
    explore(&page)?;
    inspect(&page, UP)?;
    page.wait_for(
        "location.hash == '#map/model.layers.1.mlp.up_proj.weight'",
        START,
    )?;
    for _ in 0..3 {
        page.click("#zoom-in")?;
    }
    page.drag_between("#weights", "#weight-at")?;
    let seen = |page: &Page| -> Result<String> {
        page.hover("#zoom-in")?;
        page.hover_at("#weights", 0.4, 0.3)?;
        page.wait_for(
            "document.querySelector('#weight-at').innerText.startsWith('Row ')",
            START,
        )?;
        page.text("#weight-at")
    };
    page.wait_for("location.hash.split('/').length == 3", START)?;
    let first = seen(&page)?;
    let hash = page.evaluate("location.hash")?;
    let hash = hash.as_str().context("no address")?;
    let address = format!(
        "{}/?model=tiny.1bit&device=cpu{hash}",
        stage()?.server.origin()
    );
    let other = page.another(&address)?;
    other.emulate(1280, 800, "light")?;
    other.wait_for(
        &format!("document.querySelector('#weights') && {LOADED}"),
        START,
    )?;
    ensure!(
        other.evaluate("document.querySelector('.matrix').dataset.open")?
            == "model.layers.1.mlp.up_proj.weight"
    );
    let second = seen(&other)?;
    ensure!(first == second, "{first}, then {second}");
    other.wait_for(&format!("location.hash == '{hash}'"), START)?;
    // Another address in the same tab.
    other.evaluate("location.hash = '#map/model.embed_tokens.weight'")?;
    other.wait_for(
        "document.querySelector('.matrix')?.dataset.open == 'model.embed_tokens.weight' && document.querySelector('#weights')",
        START,
    )?;
    // One of a matrix that the model does not have opens what there is.
    other.evaluate("location.hash = '#map/model.layers.99.mlp.up_proj.weight'")?;
    other.wait_for("!location.hash.includes('99')", START)?;
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: { writeText: text => { window.copied = text; return Promise.resolve(); } } })")?;
    page.click("#copy-link")?;
    page.wait_for("window.copied == location.href", START)?;
    page.assert_clean()?;
    other.assert_clean()
}

#[test]
fn pictures_are_saved() -> Result<()> {
    let page = open_tiny()?;
    explore(&page)?;
    inspect(&page, UP)?;
    let keep = |name: &str, bytes: &[u8]| -> Result<(u32, u32)> {
        let file = root().join(format!("target/page-screenshots/saved-{name}"));
        fs::create_dir_all(file.parent().context("no folder")?)?;
        fs::write(file, bytes)?;
        size_of(bytes)
    };
    let (name, bytes) = saved(&page, "#save-seen")?;
    ensure!(name == "layer-1-up.png", "{name}");
    let seen = keep(&name, &bytes)?;
    ensure!(seen.0 > 200 && seen.1 > 150, "{seen:?}");
    let (name, bytes) = saved(&page, "#save-layer")?;
    ensure!(name == "layer-1.png", "{name}");
    let layer = keep(&name, &bytes)?;
    let (name, bytes) = saved(&page, "#save-poster")?;
    ensure!(name == "tiny.png", "{name}");
    let poster = keep(&name, &bytes)?;
    // A pixel for every weight.
    ensure!(
        layer.0 > 64 * 6 && poster.1 > 4 * layer.1 / 2,
        "{layer:?} {poster:?}"
    );
    page.assert_clean()
}

/// Without a text of the reader's the page's own is measured, in both maps.
#[test]
fn perplexity_before_and_after() -> Result<()> {
    let page = open_tiny()?;
    explore(&page)?;
    inspect(&page, UP)?;
    choose(&page, "binary")?;
    page.click("#measure")?;
    page.wait_for(
        "document.querySelector('#map-perplexity').innerText.includes(' now')",
        REPLY,
    )?;
    let told = page.text("#map-perplexity")?;
    let numbers: Vec<f64> = told
        .split_whitespace()
        .filter_map(|word| word.trim_matches(',').parse().ok())
        .collect();
    let map = page.evaluate("document.querySelectorAll('#measured tbody tr').length")?;
    ensure!(
        map == 2 && numbers.len() >= 2 && numbers[0] != numbers[1],
        "{told}"
    );
    let (_, edited) = saved(&page, "#save-map")?;
    let edited = temporary("measured-map.json", &edited)?;
    let story = root().join("web/src/ui/explorer/story.txt");
    let native = onebit::perplexity(onebit::tiny_model()?, &edited, &story)?;
    ensure!(
        (numbers[1] - native).abs() < 1e-3 * native,
        "{told}, natively {native}"
    );
    // Another text has figures of its own.
    page.set_field(
        "#measure-text",
        "Once upon a time there was a little dog who ran in the park.",
    )?;
    page.wait_for(
        "document.querySelector('#map-perplexity').innerText == ''",
        START,
    )?;
    page.assert_clean()
}
