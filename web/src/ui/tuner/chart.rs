//! Curves of a fine-tuning: the loss of what is trained on and of what is held back, the speed, the
//! learning rate.
//!
//! A picture is stretched to its place, but no line or dot in it is, and its numbers stand beside
//! it as text: they are as large on a phone as on a desk.

use leptos::prelude::*;
use ternary::session::TunePoint;

use crate::ui::widgets::scale::Scale;

/// Of a picture before it is stretched.
const SIDE: f64 = 1000.0;
/// Steps and what was measured there.
type Curve = Vec<(usize, f64)>;

#[component]
pub fn Chart(points: RwSignal<Vec<TunePoint>>, steps: Signal<usize>) -> impl IntoView {
    move || {
        let points = points.get();
        let curve = |of: fn(&TunePoint) -> Option<f64>| -> Curve {
            let known = points.iter().filter_map(|p| Some((p.step, of(p)?)));
            known.collect()
        };
        let loss = curve(|p| p.loss);
        // As numbers, for whoever reads the page by program.
        let losses: Vec<f64> = loss.iter().map(|(_, loss)| *loss).collect();
        let losses = serde_json::to_string(&losses).unwrap_or_default();
        let held_back = curve(|p| p.validation);
        let steps = steps.get();
        let small = |name: &'static str, label, of| {
            let curves = [curve(of), Curve::new()];
            view! {
                <figure class="chart">
                    <figcaption class="hint">{name}</figcaption>
                    {plot(label, curves, Some(0.0), steps)}
                </figure>
            }
        };
        view! {
            <figure class="chart" id="tune-chart" data-losses=losses>
                <figcaption class="hint">
                    <span class="key"></span>"loss while learning "<span class="key held-back"></span>"on held-back lines"
                </figcaption>
                {plot("Loss over the steps", [loss, held_back], None, steps)}
            </figure>
            <div class="small-charts">
                {small("tokens/s", "Tokens per second over the steps", |p| (p.step > 0).then_some(p.tokens_per_second))}
                {small("learning rate", "Learning rate over the steps", |p| (p.step > 0).then_some(p.learning_rate))}
            </div>
        }
    }
}

/// A picture of two curves, the second with a dot for every value.
fn plot(label: &'static str, curves: [Curve; 2], bottom: Option<f64>, steps: usize) -> AnyView {
    let values = curves.iter().flatten().map(|(_, value)| *value);
    let Some(scale) = Scale::of(values, bottom) else {
        return ().into_any();
    };
    let x = |step: usize| step as f64 / steps.max(1) as f64 * SIDE;
    let y = |value: f64| scale.below(value) * SIDE;
    let (lines, names): (Vec<_>, Vec<_>) = scale
        .lines()
        .map(|(value, name)| {
            let line = format!("M0 {:.1}H{SIDE}", y(value));
            (line, view! { <span>{name}</span> })
        })
        .unzip();
    let [line, dotted] = curves.each_ref().map(|curve| {
        let places = curve.iter().map(|&(step, value)| (x(step), y(value)));
        places
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect::<Vec<_>>()
            .join(" ")
    });
    let dots = curves[1]
        .iter()
        .map(|&(step, value)| {
            view! {
                <path class="dot" d=format!("M{:.1} {:.1}h0", x(step), y(value))>
                    <title>{format!("step {step}: {value:.3}")}</title>
                </path>
            }
        })
        .collect_view();
    view! {
        <div class="plot">
            <div class="ticks" aria-hidden="true">{names}</div>
            <svg viewBox=format!("0 0 {SIDE} {SIDE}") preserveAspectRatio="none" role="img" aria-label=label>
                <path class="tick" d=lines.concat() />
                <polyline points=line />
                <polyline class="held-back" points=dotted />
                {dots}
            </svg>
            <div class="steps" aria-hidden="true"><span>"step 0"</span><span>{steps}</span></div>
        </div>
    }
    .into_any()
}
