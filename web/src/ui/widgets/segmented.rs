//! One of a few, all of them visible: radio buttons side by side.

use leptos::prelude::*;

use crate::ui::widgets::erased::live;

/// One of the choices.
#[derive(Clone, Copy, PartialEq)]
pub struct Choice<T> {
    meaning: T,
    value: &'static str,
    label: &'static str,
    enabled: bool,
}

impl<T> Choice<T> {
    pub fn new(meaning: T, value: &'static str, label: &'static str) -> Self {
        Self {
            meaning,
            value,
            label,
            enabled: true,
        }
    }

    pub fn enabled_if(self, enabled: bool) -> Self {
        Self { enabled, ..self }
    }
}

#[component]
pub fn Segmented<T, L>(
    legend: &'static str,
    name: &'static str,
    choices: impl Fn() -> L + Send + 'static,
    selected: RwSignal<T>,
    #[prop(optional, into)] disabled: Signal<bool>,
    on_select: impl Fn(T) + Copy + Send + 'static,
) -> impl IntoView
where
    T: Copy + PartialEq + Send + Sync + 'static,
    L: IntoIterator<Item = Choice<T>>,
{
    let option = move |choice: Choice<T>| {
        view! {
            <label>
                <input
                    type="radio"
                    name=name
                    value=choice.value
                    prop:checked=Signal::derive(move || selected.get() == choice.meaning)
                    disabled=Signal::derive(move || disabled.get() || !choice.enabled)
                    on:change=move |_| on_select(choice.meaning)
                />
                <span>{choice.label}</span>
            </label>
        }
    };
    view! {
        <fieldset class="segmented">
            <legend class="unseen">{legend}</legend>
            {live(move || (choices().into_iter().map(option).collect_view()).into_any())}
        </fieldset>
    }
}
