//! A fine-tuning under way: its curves, what the model writes by now, what becomes of it.

use crate::ui::widgets::erased::{When, live, on_click};
use leptos::prelude::*;
use ternary::session::Keep;

use super::chart::Chart;
use super::compare::Compare;
use super::state::{Phase, use_tuner};
use crate::ui::widgets::figures;

#[component]
pub fn Progress() -> impl IntoView {
    let t = use_tuner();
    let phase = move || t.phase.get();
    let stands = move || matches!(phase(), Phase::Paused | Phase::Done);
    let step = move || {
        t.points
            .with(|points| points.last().map_or(0, |point| point.step))
    };
    let steps = move || t.plan.with(|plan| plan.map_or(0, |plan| plan.steps));
    let title = move || match phase() {
        Phase::None => String::new(),
        Phase::Running if t.pausing.get() => "Pausing".to_owned(),
        Phase::Running => format!("Learning: step {} of {}", step(), steps()),
        Phase::Paused => format!("Paused at step {} of {}", step(), steps()),
        Phase::Done => format!("Done after {} steps", steps()),
    };
    let numbers = move || {
        let points = t.points.get();
        let validations: Vec<f64> = points.iter().filter_map(|point| point.validation).collect();
        let mut rows = Vec::new();
        if let Some(loss) = points.iter().rev().find_map(|point| point.loss) {
            rows.push(("Loss", "tune-loss", format!("{loss:.3}")));
        }
        if let (Some(first), Some(last)) = (validations.first(), validations.last()) {
            rows.push((
                "On held-back lines",
                "tune-validation",
                match validations.len() {
                    1 => format!("{last:.3}"),
                    _ => format!(
                        "{last:.3}, was {first:.3} ({:+.0}\u{a0}%)",
                        (last / first - 1.0) * 100.0
                    ),
                },
            ));
        }
        if let Some(last) = points.last().filter(|point| point.step > 0) {
            rows.push((
                "Speed",
                "tune-speed",
                figures::speed(last.tokens_per_second),
            ));
            rows.push((
                "Learning rate",
                "tune-rate-now",
                format!("{:.2e}", last.learning_rate),
            ));
            if phase() == Phase::Running
                && let Some(plan) = t.plan.get()
            {
                let tokens = (plan.steps - last.step.min(plan.steps))
                    * plan.seq_len
                    * t.settings.with(|s| s.batch_size);
                let seconds = tokens as f64 / last.tokens_per_second.max(1e-9);
                rows.push(("Time left", "tune-left", figures::duration(seconds)));
            }
        }
        rows.into_iter()
            .map(|(term, id, value)| view! { <div><dt>{term}</dt><dd id=id>{value}</dd></div> })
            .collect_view()
    };
    let samples = move || {
        let all = t.samples.get();
        all.into_iter()
            .rev()
            .map(|sample| {
                view! {
                    <li>
                        <span class="hint">{format!("Step {}", sample.step)}</span>
                        <p><span class="soft">{sample.prompt}</span>{sample.text}</p>
                    </li>
                }
            })
            .collect_view()
    };
    let changes = move || {
        let all = t.changes.get();
        (!all.is_empty()).then(|| {
            let count = |of: fn(&ternary::session::MatrixDiff) -> usize| all.iter().map(of).sum::<usize>();
            let (changed, weights) = (count(|c| c.changed.unwrap_or(0)), count(|c| c.weights));
            let bars = (changed > 0).then(|| {
                let most = all.iter().map(share).fold(0.0, f64::max);
                let bars = all.iter().map(|change| {
                    let share = share(change);
                    let name = change.name.trim_start_matches("model.").trim_end_matches(".weight").to_owned();
                    view! {
                        <span class="flip" style:height=format!("{:.1}%", share * 100.0 / most) title=format!("{name}: {:.2} %", share * 100.0)></span>
                    }
                }).collect_view();
                view! {
                    <div role="img" aria-label="Share of the weights of every matrix that turned, first layer first">{bars}</div>
                }
            });
            view! {
                <figure class="flips">
                    {bars}
                    <figcaption class="hint">
                        {format!("{} of {} weights flipped so far ({:.2} %){}",
                            figures::grouped(changed), figures::grouped(weights), changed as f64 * 100.0 / weights.max(1) as f64,
                            if changed > 0 { ", matrix by matrix." } else { "." })}
                    </figcaption>
                </figure>
            }
        })
    };
    let adapter = move || t.settings.with(|settings| settings.lora.is_some());
    view! {
        <section aria-labelledby="tune-title" data-phase=Signal::derive(move || format!("{:?}", phase()))>
            <h2 id="tune-title" role="status">{title}</h2>
            <progress id="tune-progress" aria-label="Steps done" max=move || steps().max(1) value=step></progress>
            <Chart points=t.points steps=Signal::derive(steps) />
            <dl class="numbers">{numbers}</dl>
            {changes}
            <div class="buttons">
                <When when=Signal::derive(move || phase() == Phase::Running)>
                    <button type="button" id="tune-pause" disabled=Signal::derive(move || t.pausing.get()) on:click=on_click(move || t.pause_tune())>"Pause"</button>
                </When>
                <When when=Signal::derive(move || phase() == Phase::Paused)>
                    <button type="button" id="tune-continue" class="primary" on:click=on_click(move || t.continue_tune())>"Continue"</button>
                </When>
                <When when=Signal::derive(stands)>
                    <button type="button" id="tune-keep" class="primary" on:click=on_click(move || t.keep_tune())>"Keep and chat"</button>
                    <button type="button" id="tune-save" on:click=on_click(move || t.save_tune(Keep::Model))>"Save as .1bit"</button>
                    <When when=Signal::derive(adapter)>
                        <button type="button" id="tune-save-adapter" on:click=on_click(move || t.save_tune(Keep::Adapter))>"Save the adapter"</button>
                    </When>
                    <button type="button" id="tune-discard" on:click=on_click(move || t.discard_tune())>"Discard"</button>
                </When>
            </div>
            <p class="hint" id="tune-saved">
                {live(move || (t.saved.get().map(|step| format!("Saved in this browser at step {step}; a reload loses nothing up to there."))).into_any())}
            </p>
            <When when=Signal::derive(move || phase() == Phase::Done)>
                <Compare samples=t.samples />
            </When>
            <h3>"Samples"</h3>
            <ol class="samples">{samples}</ol>
        </section>
    }
}

fn share(change: &ternary::session::MatrixDiff) -> f64 {
    change.changed.unwrap_or(0) as f64 / change.weights.max(1) as f64
}
