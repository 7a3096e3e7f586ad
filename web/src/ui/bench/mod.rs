//! `?bench`: what this device's GPU computes, and how fast, in place of the page.

mod run;

use leptos::prelude::*;
use ternary::session::suite::{Part, Section};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::UrlSearchParams;

use crate::ui::widgets::erased::{When, live, on_click};
use crate::ui::widgets::files;
use run::{Run, State};

/// What a saved report is called, here and natively.
const FILE: &str = "report.json";

/// Whether the page's address asks for this instead of the page, and whether for the short form.
pub fn asked() -> Option<bool> {
    let query = window().location().search().unwrap_or_default();
    let query = UrlSearchParams::new_with_str(&query).ok()?;
    query.has("bench").then(|| query.has("quick"))
}

#[component]
pub fn BenchApp(quick: bool) -> impl IntoView {
    let run = Run::new(quick);
    run.begin();
    let copied = RwSignal::new(false);
    let problem = RwSignal::new(String::new());
    let copy = move || {
        let text = run.report.with_untracked(|report| report.markdown());
        let writing = window().navigator().clipboard().write_text(&text);
        spawn_local(async move {
            match JsFuture::from(writing).await {
                Ok(_) => copied.set(true),
                Err(thrown) => problem.set(format!(
                    "The report could not be copied: {}",
                    crate::js::describe(thrown)
                )),
            }
        });
    };
    let save = move || {
        let json = run.report.with_untracked(|report| report.json());
        let text = format!("{json:#}\n");
        if let Err(why) = files::save(FILE, text.as_bytes()) {
            problem.set(format!("The report could not be saved: {why}"));
        }
    };
    let running = Signal::derive(move || run.is_running());
    let share = move || {
        let over = |state: &&State| !matches!(state, State::Waiting | State::Running);
        run.states.with(|all| all.iter().filter(over).count())
    };
    view! {
        <header>
            <h1>"Ternary-Core"</h1>
        </header>
        <main class="bench">
            <h2>"This device's GPU"</h2>
            <p>
                "This page checks whether WebGPU computes what the CPU does on this device, and measures how fast it is. It takes a few minutes. Nothing is sent: copy the report or save it if you want to share it."
            </p>
            <div class="row">
                <When when=running>
                    <button type="button" id="stop-bench" on:click=on_click(move || run.stop())>"Stop"</button>
                </When>
                <When when=Signal::derive(move || !running.get())>
                    <button type="button" id="run-again" on:click=on_click(move || run.begin())>"Run again"</button>
                </When>
                <button type="button" id="copy-report" class="primary" on:click=on_click(copy) on:blur=move |_| copied.set(false)>
                    {live(move || (if copied.get() { "Copied" } else { "Copy the report" }).into_any())}
                </button>
                <button type="button" id="save-report" on:click=on_click(save)>"Save report.json"</button>
            </div>
            <progress aria-label="Parts done" max=Part::ALL.len() value=share hidden=Signal::derive(move || !running.get())></progress>
            <p id="bench-state" role="status" data-running=Signal::derive(move || running.get().to_string())>{move || run.told()}</p>
            <p class="hint" id="bench-line">{move || run.line.get()}</p>
            {live(move || problem.with(|problem| (!problem.is_empty()).then(|| view! { <p class="bad" role="alert">{problem.clone()}</p> })).into_any())}
            {Part::ALL.map(|part| view! { <PartView run part /> }).collect_view()}
        </main>
    }
}

#[component]
fn PartView(run: Run, part: Part) -> impl IntoView {
    let section = Memo::new(move |_| run.report.with(|report| report.section(part)));
    let state = Memo::new(move |_| run.state(part));
    let has_begun = move || !run.report.with(|report| report.part(part).is_null());
    let id = format!("part-{}", part.name());
    let badge = move || {
        let (kind, text) = match state.get() {
            State::Waiting => ("", "Waiting".to_owned()),
            State::Running => ("slow", "Running".to_owned()),
            State::Done => ("runs", "Done".to_owned()),
            State::Failed(_) => ("large", "Failed".to_owned()),
            State::LeftOut => ("", "Left out".to_owned()),
            State::Stopped => ("", "Stopped".to_owned()),
        };
        view! { <span class=format!("badge {kind}")>{text}</span> }
    };
    let why = move || match state.get() {
        State::Failed(why) => Some(view! { <p class="bad">{why}</p> }.into_any()),
        State::LeftOut => Some(
            view! { <p class="hint">"There is no GPU to compare with the CPU."</p> }.into_any(),
        ),
        _ => None,
    };
    let cut = move || {
        let cut = run.report.with(|report| report.cut(part));
        (!cut.is_empty())
            .then(|| view! { <p class="hint">{format!("No time was left for: {cut}.")}</p> })
    };
    view! {
        <section id=id.clone() aria-labelledby=format!("{id}-title") data-state=Signal::derive(move || state.get().name())>
            <h3 id=format!("{id}-title")>{part.title()}</h3>
            {live(move || badge().into_any())}
            {live(move || why().into_any())}
            {live(move || has_begun().then(|| found(part, section.get())).into_any())}
            {live(move || cut().into_any())}
        </section>
    }
}

/// What a part has found: sentences, and a table.
fn found(part: Part, section: Section) -> impl IntoView {
    let lines = section.lines.into_iter();
    // Bold in the report that is copied.
    let lines = lines.map(|line| view! { <p>{line.replace("**", "")}</p> });
    let cells = |row: Vec<String>| {
        let cells = row.into_iter().map(|cell| view! { <td>{cell}</td> });
        view! { <tr>{cells.collect_view()}</tr> }
    };
    let heads = section.columns.into_iter();
    let heads = heads.map(|head| view! { <th scope="col">{head}</th> });
    let table = (!section.rows.is_empty()).then(|| {
        view! {
            <div class="wide" tabindex="0" role="region" aria-label=part.title()>
                <table>
                    <thead><tr>{heads.collect_view()}</tr></thead>
                    <tbody>{section.rows.into_iter().map(cells).collect_view()}</tbody>
                </table>
            </div>
        }
    });
    view! {
        {lines.collect_view()}
        {table}
    }
}
