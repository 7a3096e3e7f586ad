//! Pictures to keep: what is seen, a layer, the whole model as a poster.

use std::cell::RefCell;
use std::rc::Rc;

use futures_channel::oneshot;
use leptos::prelude::*;
use ternary::session::Weights;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{Blob, CanvasRenderingContext2d, HtmlCanvasElement};

use super::cells::{Cell, rows};
use super::drawing::{Painted, canvas, context, draw, paint, palette, style};
use super::poster::draw_poster;
use super::sight::Sight;
use super::state::{Explorer, use_explorer};
use crate::js::describe;
use crate::ui::engine::use_engine;
use crate::ui::page::use_page;
use crate::ui::widgets::erased::live;
use crate::ui::widgets::{figures, files};

/// The height of a line of text, in pixels.
const LINE: f64 = 28.0;

/// The buttons for pictures and for a link to what is seen.
#[component]
pub fn SavePicture(sight: Sight) -> impl IntoView {
    let (engine, page, e) = (use_engine(), use_page(), use_explorer());
    // Matrices drawn so far, of how many.
    let drawing = RwSignal::new(None::<(usize, usize)>);
    let done = move |name: String, result: Result<HtmlCanvasElement, String>| {
        spawn_local(async move {
            let saved = match result {
                Ok(picture) => save(&picture, &name).await,
                Err(problem) => Err(problem),
            };
            if let Err(problem) = saved {
                page.fail("The picture could not be saved", problem);
            }
        });
    };
    let title = move || {
        let model = engine.model.get_untracked();
        model.map_or_else(String::new, |model| model.name)
    };
    let seen = move |_| {
        let name = e
            .selected
            .get_untracked()
            .map_or_else(String::new, Cell::label);
        let weights = e.weights.get_untracked();
        if let Some(weights) = weights {
            let caption = format!("{}: {name}, {}", title(), figures::quant_mode(weights.mode));
            done(name, picture_of(e, sight, &weights, &caption));
        }
    };
    let poster = move |title: String, name: String, cells: Vec<Vec<Cell>>| {
        if drawing.get_untracked().is_some() {
            return;
        }
        let count = cells.iter().flatten().count();
        drawing.set(Some((0, count)));
        spawn_local(async move {
            let told = |drawn| drawing.set(Some((drawn, count)));
            let drawn = draw_poster(e, &title, cells, told).await;
            drawing.try_set(None);
            done(name, drawn);
        });
    };
    let layer = move |_| {
        let all = engine
            .model
            .get_untracked()
            .map(|model| rows(&model.config));
        let Some((all, open)) = all.zip(e.selected.get_untracked()) else {
            return;
        };
        let row: Vec<_> = all
            .into_iter()
            .filter(|cells| cells.contains(&open))
            .collect();
        let name = match open {
            Cell::Matrix(layer, _) => format!("Layer {layer}"),
            other => other.label(),
        };
        poster(format!("{}: {name}", title()), name, row);
    };
    let model = move |_| {
        if let Some(model) = engine.model.get_untracked() {
            poster(model.name.clone(), model.name, rows(&model.config));
        }
    };
    let copied = RwSignal::new(false);
    let copy_link = move |_| {
        let address = window().location().href().unwrap_or_default();
        let writing = window().navigator().clipboard().write_text(&address);
        spawn_local(async move {
            match JsFuture::from(writing).await {
                Ok(_) => copied.set(true),
                Err(thrown) => page.fail("The link could not be copied", describe(thrown)),
            }
        });
    };
    view! {
        <button type="button" id="save-seen" on:click=seen>"Save picture"</button>
        <button type="button" id="save-layer" on:click=layer disabled=Signal::derive(move || drawing.get().is_some())>"Save layer"</button>
        <button type="button" id="save-poster" on:click=model disabled=Signal::derive(move || drawing.get().is_some())>
            {live(move || (match drawing.get() {
                Some((drawn, count)) => format!("Drawing {drawn} of {count}"),
                None => "Save poster".to_owned(),
            }).into_any())}
        </button>
        {window().is_secure_context().then(|| view! {
            <button type="button" id="copy-link" on:click=copy_link on:blur=move |_| copied.set(false)>
                {live(move || (if copied.get() { "Link copied" } else { "Copy link" }).into_any())}
            </button>
        })}
    }
}

/// What is seen of the open matrix, with a line of text.
fn picture_of(
    e: Explorer,
    sight: Sight,
    weights: &Weights,
    caption: &str,
) -> Result<HtmlCanvasElement, String> {
    let shown = sight.canvas.get_untracked().ok_or("nothing is drawn")?;
    let strips = sight.strips.get_untracked();
    let other = untrack(|| e.beside());
    let image = paint(weights, other.as_deref(), strips, &palette())?;
    let camera = sight.camera.get_untracked();
    let painted = Painted::new(image);
    draw(&shown, (&painted, 1.0), (weights, strips), camera, None)?;
    let (width, height) = (f64::from(shown.width()), f64::from(shown.height()));
    let picture = ground(width, height + LINE)?;
    let context = context(&picture)?;
    context
        .draw_image_with_html_canvas_element(&shown, 0.0, LINE)
        .map_err(describe)?;
    write(&context, caption, (8.0, LINE / 2.0), 15.0, width - 16.0)?;
    Ok(picture)
}

/// A canvas in the color of the page.
pub fn ground(width: f64, height: f64) -> Result<HtmlCanvasElement, String> {
    let canvas = canvas(width.ceil() as u32, height.ceil() as u32)?;
    let context = context(&canvas)?;
    context.set_fill_style_str(&style("--surface"));
    context.fill_rect(0.0, 0.0, width.ceil(), height.ceil());
    context.set_image_smoothing_enabled(true);
    Ok(canvas)
}

/// A line of text, of letters of this size, no wider than there is room.
pub fn write(
    context: &CanvasRenderingContext2d,
    text: &str,
    (x, y): (f64, f64),
    size: f64,
    room: f64,
) -> Result<(), String> {
    context.set_fill_style_str(&style("--text"));
    context.set_font(&format!("{size}px sans-serif"));
    context.set_text_align("left");
    context.set_text_baseline("middle");
    context
        .fill_text_with_max_width(text, x, y, room)
        .map_err(describe)
}

/// Hands it to the reader as a PNG.
async fn save(picture: &HtmlCanvasElement, name: &str) -> Result<(), String> {
    let (made, taken) = oneshot::channel::<Option<Blob>>();
    let made = Rc::new(RefCell::new(Some(made)));
    let on_blob = Closure::once_into_js(move |blob: JsValue| {
        if let Some(made) = made.borrow_mut().take() {
            made.send(blob.dyn_into().ok()).ok();
        }
    });
    picture.to_blob(on_blob.unchecked_ref()).map_err(describe)?;
    let blob = taken.await.ok().flatten();
    let blob = blob.ok_or("the browser made no picture of it; it may be too large")?;
    let words: Vec<&str> = name.split(|c: char| !c.is_alphanumeric()).collect();
    let words: Vec<String> = words
        .into_iter()
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    files::save_blob(&format!("{}.png", words.join("-")), &blob)
}
