//! The page, used without any sense: whatever is pressed in whatever order, the engine lives and
//! the page reports no error.

use std::collections::BTreeSet;
use std::fs;
use std::str::FromStr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use page_tests::{Page, onebit, scratch};
use serde_json::{Value, json};

use crate::{START, open};

/// What is typed where something else was expected. (No emoji: Chromium itself falls over them
/// where no font has any.)
const TEXTS: [&str; 12] = [
    "Who is Max?",
    "",
    "   ",
    "-1",
    "0",
    "3.5",
    "1e9",
    "NaN",
    "99999999999999999999",
    "<script>alert(1)</script>",
    "# Title\n\n* x\n\n| a | b |\n|--|--|\n| 1 | 2 |",
    "\u{0}x\u{7f}",
];
const KEYS: [&str; 5] = ["Enter", "Escape", "Tab", "ArrowRight", "ArrowDown"];
const SIZES: [(u32, u32); 4] = [(1280, 800), (390, 844), (320, 480), (2000, 1200)];
/// So many of the last actions are shown when something went wrong.
const SHOWN: usize = 60;

/// Xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, count: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % count
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

fn variable<T: FromStr>(name: &str, or: T) -> T {
    let value = std::env::var(name).ok();
    value.and_then(|value| value.parse().ok()).unwrap_or(or)
}

/// `PAGE_SEED` (1) and `PAGE_SECONDS` (120) choose the run; `PAGE_QUERY` is the page's address
/// behind the `?`.
#[test]
#[ignore = "takes as long as it is given; what it finds depends on timing"]
fn nothing_breaks() -> Result<()> {
    let mut actions = Vec::new();
    let used = use_page(&mut actions);
    if used.is_err() {
        let skipped = actions.len().saturating_sub(SHOWN);
        eprintln!("{}", actions[skipped..].join("\n"));
    }
    used
}

fn use_page(actions: &mut Vec<String>) -> Result<()> {
    let seed: u64 = variable("PAGE_SEED", 1);
    let query = variable("PAGE_QUERY", "model=tiny.1bit&device=cpu".to_owned());
    let until = Instant::now() + Duration::from_secs(variable("PAGE_SECONDS", 120));
    let page = open(&format!("?{query}"))?;
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut notices = BTreeSet::new();
    while Instant::now() < until {
        let action = act(&page, &mut random)?;
        actions.push(action);
        let notice = page.evaluate("document.querySelector('.notice')?.innerText ?? ''")?;
        let notice = notice.as_str().unwrap_or_default();
        if !notice.is_empty() && notices.insert(notice.to_owned()) {
            eprintln!("after {} actions: {notice:?}", actions.len());
        }
        ensure!(!notice.contains("The engine stopped"), "seed {seed}");
        // Looking through all events takes its time.
        if actions.len().is_multiple_of(50) {
            let findings = page.findings();
            let mut errors = findings.errors;
            // Addresses that are typed lead nowhere.
            errors.retain(|error| !error.contains("404"));
            ensure!(
                errors.is_empty()
                    && findings.violations.is_empty()
                    && findings.external_requests.is_empty(),
                "seed {seed}: {errors:?} {:?} {:?}",
                findings.violations,
                findings.external_requests
            );
        }
    }
    eprintln!("{} actions", actions.len());
    Ok(())
}

/// Does something, and says what.
fn act(page: &Page, random: &mut Random) -> Result<String> {
    match random.below(100) {
        0..55 => {
            let place = [random.of(&[0.5, 0.3, 0.9]), random.of(&[0.5, 0.3, 0.9])];
            let found = page.evaluate(&pick(
                random,
                "button, input, textarea, summary, select, canvas, a:not([href^=http]), [tabindex], label",
                &format!(
                    "e.scrollIntoView({{ block: 'nearest' }}); const r = e.getBoundingClientRect(); \
                     return [r.x + r.width * {}, r.y + r.height * {}, e.outerHTML.slice(0, 80)];",
                    place[0], place[1]
                ),
            ))?;
            if let (Some(x), Some(y)) = (found[0].as_f64(), found[1].as_f64()) {
                page.click_at(x, y)?;
            }
            Ok(format!("click {}", found[2]))
        }
        55..70 => {
            let into = page.evaluate(
                "(e => e.matches('textarea, input:not([type=radio], [type=checkbox], [type=range])') && e.id)(document.activeElement)",
            )?;
            let text = match random.below(8) {
                0 => "The cat sat on the mat and saw a dog. ".repeat(random.below(300)),
                _ => random.of(&TEXTS).to_owned(),
            };
            if into != false {
                page.type_text(&text)?;
            }
            Ok(format!("type {} bytes into {into}", text.len()))
        }
        70..80 => {
            let text = random.of(&TEXTS);
            let set = page.evaluate(&pick(
                random,
                "input:not([type=file], [type=radio]), textarea, select",
                &format!(
                    "e.value = {}; for (const kind of ['input', 'change']) e.dispatchEvent(new Event(kind, {{ bubbles: true }})); return e.id;",
                    json!(text)
                ),
            ))?;
            Ok(format!("set {set} to {text:?}"))
        }
        80..90 => {
            let key = random.of(&KEYS);
            page.press(key)?;
            Ok(format!("press {key}"))
        }
        90..93 => {
            let way = random.of(&["back", "forward"]);
            // Not off the page.
            page.evaluate(&format!("history.length > 2 && history.{way}()"))?;
            Ok(way.to_owned())
        }
        93..95 => {
            let (width, height) = random.of(&SIZES);
            page.emulate(width, height, random.of(&["light", "dark"]))?;
            Ok(format!("{width} × {height}"))
        }
        95..97 => {
            let text = scratch().join("random.txt");
            fs::write(&text, "The cat sat on the mat.\n".repeat(300))?;
            let file = random.of(&[onebit::tiny_model()?, text.as_path()]);
            page.drop_file(file)?;
            Ok(format!("drop {}", file.display()))
        }
        97 if random.below(3) == 0 => {
            page.reload()?;
            page.wait_for("document.querySelector('main')", START)
                .context("after a reload")?;
            Ok("reload".to_owned())
        }
        _ => {
            sleep(Duration::from_millis(random.below(1500) as u64));
            Ok("wait".to_owned())
        }
    }
}

/// An expression: what `then` gives of one of the elements `e` that can be used.
fn pick(random: &mut Random, selector: &str, then: &str) -> String {
    let number: Value = random.below(1 << 20).into();
    format!(
        "(() => {{ const all = [...document.querySelectorAll({})].filter(e => e.checkVisibility() && !e.disabled && e.type != 'file'); \
         if (!all.length) return [null, null, null]; const e = all[{number} % all.length]; {then} }})()",
        json!(selector)
    )
}
