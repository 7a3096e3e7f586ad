//! The matrices of a model on its way, each filled as far as its bytes are there.

use std::sync::Arc;

use leptos::prelude::*;
use ternary::session::FilePart;

use super::load::{Load, LoadStage};
use super::use_models;
use crate::ui::widgets::erased::live;

/// What is on its way, and what of it is there.
#[derive(Clone, Default)]
struct Coming {
    parts: Arc<Vec<FilePart>>,
    done: u64,
    /// Parts come in the order in which they are listed, not in that of their offsets.
    in_turn: bool,
}

impl Coming {
    fn of_load(load: &Load) -> Self {
        Self {
            parts: Arc::clone(&load.parts),
            done: match load.stage {
                LoadStage::Waiting => 0,
                LoadStage::Fetching | LoadStage::Reading => load.done,
            },
            in_turn: load.stage == LoadStage::Reading,
        }
    }

    /// How much of a part is there, in hundredths; `ahead`: bytes of those listed before it.
    fn share(&self, part: &FilePart, ahead: u64) -> u64 {
        let before = if self.in_turn { ahead } else { part.offset };
        let there = self.done.saturating_sub(before);
        there.min(part.bytes) * 100 / part.bytes.max(1)
    }
}

/// The layer that a parameter belongs to.
fn layer(name: &str) -> Option<&str> {
    name.strip_prefix("model.layers.")?.split('.').next()
}

/// Of the load under way.
#[component]
pub fn Arrival() -> impl IntoView {
    let loads = use_models().loads;
    let coming = Signal::derive(move || {
        loads.with(|loads| loads.front().map(Coming::of_load).unwrap_or_default())
    });
    view! { <Filling coming class="arrival" /> }
}

/// Of the import under way.
#[component]
pub fn ImportArrival() -> impl IntoView {
    let i = use_models().importer;
    let coming = Signal::derive(move || Coming {
        parts: i.parts.get(),
        done: i.progress.with(|(done, ..)| *done),
        in_turn: false,
    });
    view! { <Filling coming class="arrival importing" /> }
}

/// For the eye: what the bar tells in numbers.
#[component]
fn Filling(coming: Signal<Coming>, class: &'static str) -> impl IntoView {
    let parts = Memo::new_with_compare(
        move |_| coming.with(|coming| Arc::clone(&coming.parts)),
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
            let here = Memo::new(move |_| coming.with(|coming| coming.share(&part, ahead)));
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
    view! { <div class=class aria-hidden="true">{live(move || rows().into_any())}</div> }
}
