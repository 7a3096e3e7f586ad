//! A search's result: what was measured, and the maps that no other beats.

use leptos::prelude::*;
use ternary::search::Entry;

use super::state::use_explorer;
use crate::ui::widgets::erased::on_click;
use crate::ui::widgets::figures;
use crate::ui::widgets::scale::range;

const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 240.0;
const MARGIN: f64 = 12.0;
/// Perplexities far above the front say nothing and would flatten it.
const TALLEST: f64 = 3.0;

#[component]
pub fn Front() -> impl IntoView {
    let e = use_explorer();
    move || {
        let found = e.found.get()?;
        let best = found
            .pareto_front
            .iter()
            .map(|entry| entry.perplexity)
            .fold(f64::INFINITY, f64::min);
        let shown =
            |entry: &&Entry| entry.perplexity.is_finite() && entry.perplexity <= best * TALLEST;
        let all: Vec<_> = found.evaluations.iter().filter(shown).collect();
        let extent = |of: fn(&Entry) -> f64| {
            let (low, high) = range(all.iter().map(|entry| of(entry)));
            (low, (high - low).max(1e-9))
        };
        let (sizes, losses) = (
            extent(|e| e.size_bytes as f64),
            extent(|e| e.perplexity.ln()),
        );
        let x = move |entry: &Entry| {
            MARGIN + (entry.size_bytes as f64 - sizes.0) / sizes.1 * (WIDTH - 2.0 * MARGIN)
        };
        let y = move |entry: &Entry| {
            HEIGHT
                - MARGIN
                - (entry.perplexity.ln() - losses.0) / losses.1 * (HEIGHT - 2.0 * MARGIN)
        };
        let dots = all
            .iter()
            .map(|entry| view! { <circle class="measured" cx=x(entry) cy=y(entry) r="2.5" /> })
            .collect_view();
        let front: Vec<_> = found.pareto_front.iter().filter(shown).cloned().collect();
        let line = front
            .iter()
            .map(|entry| format!("{:.1},{:.1}", x(entry), y(entry)))
            .collect::<Vec<_>>()
            .join(" ");
        let points = front
            .into_iter()
            .map(|entry| {
                let label = format!(
                    "{}, perplexity {:.3}",
                    figures::bytes(entry.size_bytes),
                    entry.perplexity
                );
                let title = label.clone();
                let (cx, cy) = (x(&entry), y(&entry));
                let map = entry.layer_bit_map.clone();
                let chosen = {
                    let map = map.clone();
                    move || e.map.with(|now| now.as_ref() == Some(&map))
                };
                let choose = {
                    let map = map.clone();
                    move || e.choose(map.clone())
                };
                let by_key = choose.clone();
                view! {
                    <circle
                        class="front"
                        class:chosen=chosen
                        cx=cx
                        cy=cy
                        r="6"
                        tabindex="0"
                        role="button"
                        aria-label=label
                        on:click=on_click(choose)
                        on:keydown=move |event| {
                            if matches!(event.key().as_str(), "Enter" | " ") {
                                event.prevent_default();
                                by_key();
                            }
                        }
                    >
                        <title>{title}</title>
                    </circle>
                }
            })
            .collect_view();
        Some(view! {
            <section class="front-section" aria-labelledby="front-title">
                <h2 id="front-title">"Search"</h2>
                <p class="hint">
                    {format!("{} maps measured. Choose a point of the front to see its map above.", figures::grouped(found.evaluations.len()))}
                </p>
                <svg id="front" viewBox=format!("0 0 {WIDTH} {HEIGHT}") role="group" aria-label="Size and perplexity of the measured maps">
                    {dots}
                    <polyline points=line />
                    {points}
                </svg>
                <p class="axes"><span>{format!("{} to {}", figures::bytes(sizes.0 as u64), figures::bytes((sizes.0 + sizes.1) as u64))}</span>
                    <span>{format!("perplexity {:.2} to {:.2}, upwards worse", losses.0.exp(), (losses.0 + losses.1).exp())}</span></p>
            </section>
        })
    }
}
