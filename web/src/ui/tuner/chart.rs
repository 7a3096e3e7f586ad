//! Curves of a fine-tuning: the loss of what is trained on and of what is held back, the speed, the learning rate.
//!
//! A picture is stretched to its place, but no line or dot in it is, and its numbers stand beside it as text: they are as large on a
//! phone as on a desk.

use leptos::prelude::*;
use ternary_core::session::TunePoint;

/// Of a picture before it is stretched.
const SIDE: f64 = 1000.0;
/// The lines of a picture are one of these apart, times a power of ten.
const ROUND: [f64; 8] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];

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
        let speed = curve(|p| (p.step > 0).then_some(p.tokens_per_second));
        let rate = curve(|p| (p.step > 0).then_some(p.learning_rate));
        let steps = steps.get();
        view! {
            <figure class="chart" id="tune-chart" data-losses=losses>
                <figcaption class="hint">
                    <span class="key"></span>"loss while learning "<span class="key held-back"></span>"on held-back lines"
                </figcaption>
                {plot("Loss over the steps", [loss, held_back], None, steps)}
            </figure>
            <div class="small-charts">
                <figure class="chart">
                    <figcaption class="hint">"tokens/s"</figcaption>
                    {plot("Tokens per second over the steps", [speed, Vec::new()], Some(0.0), steps)}
                </figure>
                <figure class="chart">
                    <figcaption class="hint">"learning rate"</figcaption>
                    {plot("Learning rate over the steps", [rate, Vec::new()], Some(0.0), steps)}
                </figure>
            </div>
        }
    }
}

/// A picture of two curves, the second with a dot for every value. It begins at `bottom`, with one more line at its top, or where
/// the values do, with a few between.
fn plot(label: &'static str, curves: [Curve; 2], bottom: Option<f64>, steps: usize) -> AnyView {
    let values = curves.iter().flatten().map(|(_, value)| *value);
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| {
        (l.min(v), h.max(v))
    });
    if !(low.is_finite() && high.is_finite()) {
        return ().into_any();
    }
    let (low, intervals) = bottom.map_or((low, 4.0), |bottom| (bottom, 1.0));
    let apart = round((high - low).max(high.abs() * 0.01) / intervals);
    let first = (low / apart).floor();
    let last = (high / apart).ceil().max(first + 1.0);
    let x = |step: usize| step as f64 / steps.max(1) as f64 * SIDE;
    let y = |value: f64| (last - value / apart) / (last - first) * SIDE;
    let numbers = (first as i64..=last as i64).rev();
    let (lines, names): (Vec<_>, Vec<_>) = numbers
        .map(|number| {
            let value = number as f64 * apart;
            let line = format!("M0 {:.1}H{SIDE}", y(value));
            (line, view! { <span>{name(value, apart)}</span> })
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

/// The next round number above.
fn round(number: f64) -> f64 {
    let number = number.max(1e-12);
    let power = 10f64.powf(number.log10().floor());
    let above = ROUND.iter().map(|round| round * power);
    above.fold(10.0 * power, |least, round| match round < number {
        true => least,
        false => least.min(round),
    })
}

/// A value that is some of these steps from zero: "0.25", "800", "5e-4".
fn name(value: f64, step: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if step < 1e-3 {
        return format!("{value:.0e}");
    }
    let decimals = (-step.log10().floor()).clamp(0.0, 3.0) as usize;
    format!("{value:.decimals$}")
}
