//! A number between two others.

use leptos::prelude::*;

use crate::ui::widgets::erased::live;

#[component]
pub fn Slider(
    id: &'static str,
    label: &'static str,
    /// What moving it does, in a sentence.
    hint: &'static str,
    min: f64,
    max: f64,
    step: f64,
    #[prop(into)] value: Signal<f64>,
    /// How the value is shown.
    show: fn(f64) -> String,
    on_change: impl Fn(f64) + 'static,
) -> impl IntoView {
    let hint_id = format!("{id}-hint");
    view! {
        <div class="field">
            <label for=id>{label}</label>
            <output for=id>{live(move || (show(value.get())).into_any())}</output>
            <input
                type="range"
                id=id
                min=min
                max=max
                step=step
                aria-describedby=hint_id.clone()
                aria-valuetext=Signal::derive(move || show(value.get()))
                prop:value=Signal::derive(move || value.get())
                on:input:target=move |event| {
                    if let Ok(number) = event.target().value().parse() {
                        on_change(number);
                    }
                }
            />
            <p class="hint" id=hint_id>{hint}</p>
        </div>
    }
}
