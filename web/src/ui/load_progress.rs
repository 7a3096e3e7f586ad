//! The model on its way.

use leptos::prelude::*;

use super::figures;
use super::state::{Load, LoadStage};
use super::use_app;

#[component]
pub fn LoadProgress() -> impl IntoView {
    let state = use_app();
    let bar = move || {
        state.loads.with(|loads| {
            loads.front().map(|load| {
                let share = (load.total > 0).then(|| load.done as f64 / load.total as f64);
                view! {
                    <label for="load-progress">{describe(load)}</label>
                    // Without a value the bar only says that something goes on.
                    <progress id="load-progress" value=share></progress>
                }
            })
        })
    };
    view! { <div class="loading" role="status">{bar}</div> }
}

fn describe(load: &Load) -> String {
    let name = load.source.name();
    let amount = || match load.total {
        0 => figures::bytes(load.done),
        total => format!("{} of {}", figures::bytes(load.done), figures::bytes(total)),
    };
    match load.stage {
        LoadStage::Waiting => format!("Opening {name}"),
        LoadStage::Fetching => format!("Downloading {name}: {}", amount()),
        LoadStage::Reading => format!("Loading {name}: {}", amount()),
    }
}
