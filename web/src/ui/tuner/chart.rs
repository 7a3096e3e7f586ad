//! The loss over the steps: of what is trained on, and of what is held back.

use leptos::prelude::*;
use ternary_core::session::TunePoint;

const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 200.0;
const LEFT: f64 = 36.0;
const BOTTOM: f64 = 20.0;

#[component]
pub fn Chart(points: RwSignal<Vec<TunePoint>>, steps: Signal<usize>) -> impl IntoView {
    let drawn = move || {
        let points = points.get();
        let values = points.iter().flat_map(|p| [p.loss, p.validation]).flatten();
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| {
            (l.min(v), h.max(v))
        });
        if !low.is_finite() {
            return None;
        }
        let (low, high) = ((low - 0.1).max(0.0), high + 0.1);
        let most = steps.get().max(1) as f64;
        let x = move |step: usize| LEFT + step as f64 / most * (WIDTH - LEFT - 4.0);
        let y = move |loss: f64| 4.0 + (high - loss) / (high - low) * (HEIGHT - BOTTOM - 4.0);
        let line = |of: fn(&TunePoint) -> Option<f64>| {
            let known = points.iter().filter_map(|p| Some((p.step, of(p)?)));
            known
                .map(|(step, loss)| format!("{:.1},{:.1}", x(step), y(loss)))
                .collect::<Vec<_>>()
        };
        let dots = points
            .iter()
            .filter_map(|p| Some((p.step, p.validation?)))
            .map(|(step, loss)| view! { <circle class="validation" cx=x(step) cy=y(loss) r="3.5"><title>{format!("step {step}: {loss:.3}")}</title></circle> })
            .collect_view();
        let ticks = (0..=3).map(|i| low + (high - low) * f64::from(i) / 3.0).map(|loss| view! {
            <line class="tick" x1=LEFT x2=WIDTH y1=y(loss) y2=y(loss) />
            <text x=LEFT - 6.0 y=y(loss) text-anchor="end" dominant-baseline="middle">{format!("{loss:.1}")}</text>
        }).collect_view();
        Some(view! {
            {ticks}
            <polyline class="loss" points=line(|p| p.loss).join(" ") />
            <polyline class="validation" points=line(|p| p.validation).join(" ") />
            {dots}
            <text x=LEFT y=HEIGHT - 4.0>"step 0"</text>
            <text x=WIDTH y=HEIGHT - 4.0 text-anchor="end">{format!("{}", steps.get())}</text>
        })
    };
    // As numbers, for whoever reads the page by program.
    let losses = move || {
        let known: Vec<f64> = points.with(|points| points.iter().filter_map(|p| p.loss).collect());
        serde_json::to_string(&known).unwrap_or_default()
    };
    view! {
        <figure class="chart">
            <svg id="tune-chart" data-losses=losses viewBox=format!("0 0 {WIDTH} {HEIGHT}") role="img" aria-label="Loss over the steps">{drawn}</svg>
            <figcaption class="hint">
                <span class="key loss"></span>"loss while learning "<span class="key validation"></span>"on held-back lines"
            </figcaption>
        </figure>
    }
}
