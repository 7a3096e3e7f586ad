//! What went wrong, until it is dismissed.

use leptos::prelude::*;

use super::use_shell;
use crate::ui::engine::use_engine;
use crate::ui::models::use_models;
use crate::ui::page::{Step, use_page};
use crate::ui::widgets::erased::{live, on_click};
use crate::ui::widgets::picker::Picker;

#[component]
pub fn NoticeBar() -> impl IntoView {
    let (engine, page, models) = (use_engine(), use_page(), use_models());
    let still_answering = move || {
        let model = engine
            .model
            .with(|model| model.as_ref().map(|model| model.name.clone()))?;
        Some(view! { <p class="hint">{format!("{model} is still loaded and answers.")}</p> })
    };
    // The region exists from the start: screen readers announce what is put into it.
    view! {
        <div role="alert" class="notices">
            {live(move || (page.notice.get().map(|notice| view! {
                <div class="notice" class:told=!notice.failure>
                    <div>
                        <strong>{notice.title}</strong>
                        <p class="detail" tabindex="0">{notice.detail}</p>
                        {(notice.failure && !notice.engine_died).then_some(still_answering)}
                    </div>
                    {if notice.engine_died {
                        view! {
                            <button type="button" id="restart" on:click=on_click(move || models.restart_engine())>
                                "Start it again"
                            </button>
                        }.into_any()
                    } else {
                        view! {
                            <div class="notice-buttons">
                            {notice.steps.into_iter().map(|step| view! { <NextStep step /> }).collect_view()}
                            <button type="button" id="dismiss" on:click=on_click(move || page.dismiss_notice())>
                                "Dismiss"
                            </button>
                            </div>
                        }.into_any()
                    }}
                </div>
            })).into_any())}
        </div>
    }
}

#[component]
fn NextStep(step: Step) -> impl IntoView {
    let (page, shell) = (use_page(), use_shell());
    match step {
        Step::Act { id, label, act } => {
            let act = move || {
                page.dismiss_notice();
                act();
            };
            view! { <button type="button" id=id on:click=on_click(act)>{label}</button> }.into_any()
        }
        Step::ChooseFile => {
            let take = move |picked| {
                page.notice.set(None);
                shell.take(picked);
            };
            view! { <Picker id="another-file" label="Choose another file" multiple=true on_files=take /> }
                .into_any()
        }
    }
}
