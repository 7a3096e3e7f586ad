//! The matrices of a model on its way, each filled as far as its bytes are there.

use std::sync::Arc;

use leptos::prelude::*;
use ternary::session::FilePart;

use super::load::{Load, LoadStage};
use super::use_models;
use crate::ui::widgets::erased::live;

/// How much of a part is there, in hundredths; `before`: bytes that are loaded ahead of it.
fn share(load: &Load, part: &FilePart, before: u64) -> u64 {
    let there = match load.stage {
        LoadStage::Waiting => 0,
        // The file comes from front to back.
        LoadStage::Fetching => load.done.saturating_sub(part.offset),
        // It is loaded parameter by parameter.
        LoadStage::Reading => load.done.saturating_sub(before),
    };
    there.min(part.bytes) * 100 / part.bytes.max(1)
}

/// The layer that a parameter belongs to.
fn layer(name: &str) -> Option<&str> {
    name.strip_prefix("model.layers.")?.split('.').next()
}

/// For the eye: what the bar tells in numbers.
#[component]
pub fn Arrival() -> impl IntoView {
    let loads = use_models().loads;
    let parts = Memo::new_with_compare(
        move |_| {
            let parts = loads.with(|loads| loads.front().map(|load| Arc::clone(&load.parts)));
            parts.unwrap_or_default()
        },
        |before, now| match (before, now) {
            (Some(before), Some(now)) => !Arc::ptr_eq(before, now) && before != now,
            _ => true,
        },
    );
    let rows = move || {
        let parts = parts.get();
        let (mut before, mut rows) = (0, Vec::<(Option<String>, Vec<_>)>::new());
        for part in parts.iter() {
            let ahead = before;
            before += part.bytes;
            let Some(mode) = part.mode else { continue };
            let layer = layer(&part.name).map(str::to_owned);
            let part = part.clone();
            let here = Memo::new(move |_| {
                loads.with(|loads| loads.front().map_or(0, |load| share(load, &part, ahead)))
            });
            let cell = view! {
                <span class=format!("part {}", mode.name()) style:--here=Signal::derive(move || format!("{}%", here.get()))></span>
            };
            match rows.last_mut() {
                Some((last, cells)) if *last == layer && layer.is_some() => cells.push(cell),
                _ => rows.push((layer, vec![cell])),
            }
        }
        let row = |(_, cells): (Option<String>, Vec<_>)| view! { <div>{cells}</div> };
        rows.into_iter().map(row).collect_view()
    };
    view! { <div class="arrival" aria-hidden="true">{live(move || rows().into_any())}</div> }
}
