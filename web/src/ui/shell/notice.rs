//! What went wrong, until it is dismissed.

use leptos::prelude::*;

use crate::ui::engine::use_engine;
use crate::ui::models::use_models;
use crate::ui::page::use_page;
use crate::ui::widgets::erased::{live, on_click};

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
                            {notice.again.map(|label| view! {
                                <button type="button" id="again" on:click=on_click(move || models.load_again())>{label}</button>
                            })}
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
