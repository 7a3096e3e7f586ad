//! The model on its way: how far it is, what it will take, and a way to give it up.

use leptos::prelude::*;
use ternary::infer::LoadPlan;

use super::load::{Load, LoadStage};
use super::use_models;

use crate::ui::widgets::erased::{When, on_click};
use crate::ui::widgets::figures;

#[component]
pub fn LoadProgress() -> impl IntoView {
    let models = use_models();
    let under_way = Memo::new(move |_| models.is_loading());
    // Of the load under way. Each text changes by itself, so that the button between them stays the
    // same one.
    let of_load =
        move |tell: fn(&Load) -> String| move || models.loads.with(|loads| loads.front().map(tell));
    let share = move || {
        models.loads.with(|loads| {
            let load = loads.front().filter(|load| load.total > 0)?;
            Some(load.done as f64 / load.total as f64)
        })
    };
    let plan = move || {
        models
            .loads
            .with(|loads| loads.front().and_then(|load| load.plan.as_ref().map(needs)))
    };
    view! {
        <div class="loading">
            <When when=Signal::derive(move || under_way.get())>
                <div class="loading-line">
                    <span role="status">{of_load(stage)}</span>
                    <span class="loading-pace">{of_load(pace)}</span>
                    <button type="button" class="quiet" id="cancel-load" on:click=on_click(move || models.cancel_load())>
                        "Cancel"
                    </button>
                </div>
                // Without a value the bar only says that something goes on.
                <progress id="load-progress" aria-label=of_load(stage) value=share></progress>
                <p class="hint" id="load-plan">{plan}</p>
            </When>
        </div>
    }
}

fn stage(load: &Load) -> String {
    let name = load.source.name();
    match load.stage {
        LoadStage::Waiting => format!("Opening {name}"),
        LoadStage::Fetching => format!("Downloading {name}"),
        LoadStage::Reading => format!("Loading {name}"),
    }
}

/// "1.2 of 5.0 MB · 3.1 MB/s · 2 s left". Apart from the stage: read out with every step it would
/// be noise.
fn pace(load: &Load) -> String {
    if load.stage == LoadStage::Waiting {
        return String::new();
    }
    let mut parts = vec![match load.total {
        0 => figures::bytes(load.done),
        total => figures::bytes_of(load.done, total),
    }];
    let speed = load.speed();
    if load.stage == LoadStage::Fetching && speed > 0.0 {
        parts.push(format!("{}/s", figures::bytes(speed as u64)));
        if load.total > load.done {
            let left = (load.total - load.done) as f64 / speed;
            parts.push(format!("{} left", figures::seconds(left)));
        }
    }
    parts.join(" · ")
}

fn needs(plan: &LoadPlan) -> String {
    let device = &plan.device;
    let mut text = format!(
        "Takes {}: weights {}, cache {} once the context is full, work {}. Runs on the {}, {}.",
        figures::bytes(plan.total()),
        figures::bytes(plan.weight_bytes),
        figures::bytes(plan.cache_bytes),
        figures::bytes(plan.work_bytes),
        figures::device_kind(device),
        device.name
    );
    if device.software {
        text += " That GPU is software: the CPU is faster.";
    }
    text
}
