//! What a model writes is shown as Markdown, and never as anything else.

use anyhow::{Result, ensure};
use page_tests::{Page, stage};
use serde_json::json;

use crate::look::{picture, sound_layout};
use crate::{FINISHED, REPLY, START, ask, open_altered};

/// The worker says what a test wants instead of what the model writes: in pieces, when the first
/// token comes.
const SCRIPTED: &str = "{ const post = self.postMessage.bind(self); let script = null; \
     new BroadcastChannel('script').onmessage = ({ data }) => { script = data.match(/[^]{1,7}/g); }; \
     self.postMessage = message => { \
       const { id, response } = message?.Response ?? {}; \
       if (!response?.Event?.token) return post(message); \
       for (const text of script?.splice(0) ?? []) post({ Response: { id, response: { Event: { token: { text } } } } }); }; }";

pub fn open_scripted(folder: &str) -> Result<Page> {
    let page = open_altered(folder, SCRIPTED, "device=cpu")?;
    page.set_field("#max-tokens", "2")?;
    Ok(page)
}

/// Has the model reply `text`, and waits until all of it is drawn.
pub fn reply(page: &Page, text: &str, drawn: &str) -> Result<()> {
    page.evaluate(&format!(
        "new BroadcastChannel('script').postMessage({})",
        json!(text)
    ))?;
    let count = page.evaluate("document.querySelectorAll('.exchange').length")?;
    ask(page, "Say it.")?;
    page.wait_for(
        &format!(
            "document.querySelectorAll('.exchange').length > {count} && {FINISHED} && {drawn}"
        ),
        REPLY,
    )
}

const EVERYTHING: &str = "# A heading\n\nA paragraph with *emphasis*, **strong**, `code`, ~~struck~~ and\na [link](https://example.org/).\n\n\
     - one\n- two\n  1. first\n  2. second\n\n> A quote\n\n```rust\nfn main() {\n    println!(\"a line that is so long that it has to be scrolled sideways, on a phone and beside a panel too\");\n}\n```\n\n\
     | name | what it is |\n|---|---|\n| Max | a dog |\n\n---\n\nThe end.";

#[test]
fn markdown_is_shown() -> Result<()> {
    let page = open_scripted("shown")?;
    reply(
        &page,
        EVERYTHING,
        "document.querySelector('.reply').innerText.endsWith('The end.')",
    )?;
    for selector in [
        "h3",
        "p em",
        "strong",
        "p code",
        "del",
        "ul > li",
        "ol > li",
        "blockquote p",
        "pre code",
        "table th",
        "table td",
        "hr",
    ] {
        let there = page.evaluate(&format!(
            "Boolean(document.querySelector('.reply {selector}'))"
        ))?;
        ensure!(there == true, "no `{selector}`");
    }
    let link = page.evaluate("(() => { const a = document.querySelector('.reply a'); return [a.href, a.target, a.rel].join(); })()")?;
    ensure!(
        link == "https://example.org/,_blank,noopener noreferrer",
        "{link}"
    );
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: { writeText: text => { window.copied = text; return Promise.resolve(); } } })")?;
    page.click(".copy-code")?;
    page.wait_for(
        "document.querySelector('.copy-code').innerText == 'Copied'",
        START,
    )?;
    let copied = page.evaluate("copied")?;
    ensure!(
        copied
            .as_str()
            .is_some_and(|text| text.starts_with("fn main() {\n")),
        "{copied}"
    );
    for (width, height, scheme) in [
        (1280, 1000, "light"),
        (1280, 1000, "dark"),
        (390, 1000, "light"),
        (390, 1000, "dark"),
    ] {
        page.emulate(width, height, scheme)?;
        page.evaluate("document.querySelector('.transcript').scrollTo(0, 0)")?;
        picture(&page, &format!("markdown-{width}-{scheme}"))?;
        sound_layout(&page)?;
        page.assert_accessible()?;
    }
    page.assert_clean()
}

#[test]
fn nothing_a_model_writes_runs_or_is_fetched() -> Result<()> {
    let page = open_scripted("safe")?;
    let misdeeds = [
        "<script>window.ran = 1</script>",
        "<img src=x onerror='window.ran = 2'>",
        "<svg onload='window.ran = 3'><iframe src='javascript:parent.ran = 4'></iframe></svg>",
        "<style>body { display: none }</style>",
        "[a](javascript:window.ran=5) [b](JAVASCRIPT:window.ran=6) [c](java&#x0a;script:window.ran=7) <javascript:window.ran=8>",
        "[d](data:text/html,<script>opener.ran=9</script>) [e](vbscript:x) [f](//elsewhere.example/x)",
        "![a cat](https://elsewhere.example/cat.png) ![b](javascript:window.ran=10) ![c](x \"onerror=window.ran=11\")",
        "`</code><script>window.ran = 12</script>`\n\n```\"><img src=x onerror=window.ran=13>\n</pre><script>window.ran = 14</script>\n```",
        "[x](https://e.example/\"onmouseover=\"window.ran=15)",
    ];
    let mut text = misdeeds.join("\n\n");
    text += "\n\n";
    text += &"> ".repeat(3000);
    text += "deep\n\n**a *b ~~c** d* [e](<f\n\nThe end.";
    reply(
        &page,
        &text,
        "document.querySelector('.reply').innerText.endsWith('The end.')",
    )?;
    let found = page.evaluate(
        "[...document.querySelectorAll('.reply *')].filter(e => \
           !['P', 'A', 'DIV', 'PRE', 'CODE', 'BUTTON', 'BLOCKQUOTE', 'EM', 'STRONG', 'DEL', 'SPAN'].includes(e.tagName) \
           || [...e.attributes].some(a => a.name.startsWith('on')) \
           || e.href && !/^https?:/.test(e.href)).map(e => e.outerHTML.slice(0, 80)).join()",
    )?;
    ensure!(found == "", "{found}");
    // It is all there to be read.
    for shown in [
        "<script>window.ran = 1</script>",
        "onerror='window.ran = 2'",
        "a cat",
        "deep",
    ] {
        ensure!(page.text(".reply")?.contains(shown), "{shown}");
    }
    for link in page
        .evaluate("[...document.querySelectorAll('.reply a')].map(a => a.href)")?
        .as_array()
        .into_iter()
        .flatten()
    {
        ensure!(
            link.as_str()
                .is_some_and(|link| link.starts_with("https://")),
            "{link}"
        );
    }
    ensure!(page.evaluate("typeof window.ran")? == "undefined");
    picture(&page, "misdeeds-desktop-light")?;
    sound_layout(&page)?;
    page.assert_accessible()?;
    page.assert_clean()
}

/// A long reply is drawn at its end only, a few times a second at most, and the page stays at hand.
#[test]
fn a_long_reply_stays_smooth() -> Result<()> {
    let page = open_scripted("smooth")?;
    page.evaluate(
        "window.added = 0; window.longest = 0; \
         new MutationObserver(all => { for (const change of all) for (const node of change.addedNodes) \
           if (node.parentNode?.classList?.contains('reply') && node.nodeType == 1) { added++; \
             if (node.parentNode.children.length > 3) window.first ??= node.parentNode.children[0]; } }) \
         .observe(document.body, { subtree: true, childList: true }); \
         new PerformanceObserver(list => { for (const task of list.getEntries()) longest = Math.max(longest, task.duration); }) \
         .observe({ entryTypes: ['longtask'] })",
    )?;
    let paragraphs = 400;
    let text = "A sentence with **some** weight and `code` in it, as models write.\n\n"
        .repeat(paragraphs)
        + "The end.";
    reply(
        &page,
        &text,
        "document.querySelector('.reply').innerText.endsWith('The end.')",
    )?;
    let drawn = page.evaluate("document.querySelectorAll('.reply > *').length")?;
    ensure!(drawn == paragraphs + 1, "{drawn} blocks");
    let added = page.evaluate("added")?.as_u64().unwrap_or(u64::MAX);
    let longest = page.evaluate("longest")?.as_f64().unwrap_or(f64::MAX);
    eprintln!(
        "{} bytes: {added} nodes for {drawn} blocks, longest task {longest:.0} ms",
        text.len()
    );
    ensure!(
        added < 2 * paragraphs as u64,
        "{added} nodes were drawn for {paragraphs} blocks"
    );
    // The beginning was drawn once.
    ensure!(page.evaluate("first.isConnected")? == true);
    page.assert_clean()
}

/// Without the parser replies are plain text.
#[test]
fn without_the_parser_replies_are_text() -> Result<()> {
    let page = open_scripted("unparsed")?;
    stage()?
        .server
        .add("/unparsed/markdown.js", "throw new Error('not there')")?;
    reply(
        &page,
        "# *One*\n\n<b>two</b>",
        "document.querySelector('.reply').textContent == '# *One*\\n\\n<b>two</b>'",
    )?;
    ensure!(page.evaluate("document.querySelector('.reply > *') === null")? == true);
    Ok(())
}

/// Formulas are MathML: nothing is fetched for them, and what can't be read is text.
#[test]
fn formulas_are_shown() -> Result<()> {
    let page = open_scripted("formulas")?;
    let text = "The roots of $ax^2 + bx + c = 0$ are\n\n$$x = \\frac{-b \\pm \\sqrt{b^2 - 4ac}}{2a}$$\n\n\
         and so \\(e^{i\\pi} = -1\\), with\n\n\\[\\begin{pmatrix} 1 & 0 \\\\ 0 & 1 \\end{pmatrix} \\cdot \\vec{v} = \\sum_{i=0}^{n} v_i\\]\n\n\
         | what | how |\n|---|---|\n| area | $\\pi r^2$ |\n\n\
         From $5 to $10.\n\n`\\(code\\)`, $\\unknown{x}$ and $\\text{<img src=x onerror=alert(1)>}$.\n\n\\[x = \\boxed{\\frac{1}{2}}\\]\n\nThe end.";
    reply(
        &page,
        text,
        "document.querySelector('.reply').innerText.endsWith('The end.')",
    )?;
    let count = |selector: &str| {
        page.evaluate(&format!(
            "document.querySelectorAll('.reply {selector}').length"
        ))
    };
    let (all, blocks) = (count("math")?, count("math[display=block]")?);
    ensure!(all == 7 && blocks == 3, "{all} and {blocks}");
    ensure!(count("td math")? == 1 && count("mfrac msqrt")? == 1 && count("mtable mtd")? == 4);
    ensure!(count("img")? == 0 && count("math [style], math [class]")? == 0);
    let last = page.text(".reply > p:nth-last-child(3)")?;
    ensure!(
        last.starts_with("\\(code\\), $\\unknown{x}$ and") && last.contains("<img"),
        "{last}"
    );
    // Drawn as a formula: the fraction's parts stand above each other.
    let stacked = page.evaluate(
        "(() => { const [above, below] = document.querySelector('.reply mfrac').children; \
         return above.getBoundingClientRect().bottom <= below.getBoundingClientRect().top + 2; })()",
    )?;
    ensure!(stacked == true);
    // A result has a box, with room between it and what is in it.
    let boxed = page.evaluate(
        "(() => { const e = document.querySelector('.reply math [data-boxed]'); const s = getComputedStyle(e); \
         const [outer, inner] = [e, e.firstElementChild].map(e => e.getBoundingClientRect()); \
         return s.borderTopStyle == 'solid' && outer.left + 2 < inner.left && outer.bottom - 2 > inner.bottom; })()",
    )?;
    ensure!(boxed == true, "the result has no box");
    for (width, scheme) in [(1280, "light"), (1280, "dark"), (390, "light")] {
        page.emulate(width, 844, scheme)?;
        sound_layout(&page)?;
        picture(&page, &format!("formulas-{width}-{scheme}"))?;
        page.assert_accessible()?;
    }
    page.assert_clean()
}
