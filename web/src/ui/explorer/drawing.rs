//! Weights on a canvas: the matrix as a picture, and what stands on the part that is seen.

use leptos::prelude::{document, window};
use ternary::session::Weights;
use wasm_bindgen::{Clamped, JsCast};
use web_sys::{CanvasRenderingContext2d, HtmlCanvasElement, ImageData};

use super::camera::{Camera, Size};
use super::picture::{self, Palette, parse_color};
use crate::js::describe;

/// Pixels of a weight from which its value is written into it.
const READABLE: f64 = 30.0;

/// The scheme's colors, from the style sheet.
pub fn palette(element: &HtmlCanvasElement) -> Palette {
    let style = window().get_computed_style(element).ok().flatten();
    let color = |name: &str| {
        let text = style.as_ref()?.get_property_value(name).ok()?;
        parse_color(&text)
    };
    Palette {
        minus: color("--minus").unwrap_or([190, 90, 30]),
        zero: color("--zero").unwrap_or([240, 240, 240]),
        plus: color("--plus").unwrap_or([30, 90, 85]),
        flip: color("--flip").unwrap_or([200, 0, 120]),
    }
}

fn context(canvas: &HtmlCanvasElement) -> Result<CanvasRenderingContext2d, String> {
    canvas
        .get_context("2d")
        .map_err(describe)?
        .and_then(|context| context.dyn_into().ok())
        .ok_or_else(|| "this browser draws no canvas".to_owned())
}

/// The matrix, a pixel per weight.
pub fn paint(
    weights: &Weights,
    other: Option<&Weights>,
    palette: &Palette,
) -> Result<HtmlCanvasElement, String> {
    let canvas: HtmlCanvasElement = document()
        .create_element("canvas")
        .map_err(describe)?
        .unchecked_into();
    let (width, height) = (weights.columns as u32, weights.shown_rows as u32);
    canvas.set_width(width);
    canvas.set_height(height);
    let pixels = picture::pixels(weights, other, palette);
    let data = ImageData::new_with_u8_clamped_array_and_sh(Clamped(&pixels), width, height)
        .map_err(describe)?;
    context(&canvas)?
        .put_image_data(&data, 0.0, 0.0)
        .map_err(describe)?;
    Ok(canvas)
}

pub fn draw(
    canvas: &HtmlCanvasElement,
    image: &HtmlCanvasElement,
    weights: &Weights,
    camera: Camera,
    cursor: Option<(usize, usize)>,
) -> Result<(), String> {
    let ratio = window().device_pixel_ratio();
    let (width, height) = (
        f64::from(canvas.client_width()),
        f64::from(canvas.client_height()),
    );
    let (wide, high) = ((width * ratio) as u32, (height * ratio) as u32);
    if (canvas.width(), canvas.height()) != (wide, high) {
        canvas.set_width(wide);
        canvas.set_height(high);
    }
    let context = context(canvas)?;
    context
        .set_transform(ratio, 0.0, 0.0, ratio, 0.0, 0.0)
        .map_err(describe)?;
    context.clear_rect(0.0, 0.0, width, height);
    // Several weights in a pixel are averaged, one weight over several is a square.
    context.set_image_smoothing_enabled(camera.scale < 1.0);
    context
        .draw_image_with_html_canvas_element_and_dw_and_dh(
            image,
            -camera.column * camera.scale,
            -camera.row * camera.scale,
            weights.columns as f64 * camera.scale,
            weights.shown_rows as f64 * camera.scale,
        )
        .map_err(describe)?;
    if camera.scale >= READABLE {
        write_values(&context, weights, camera, (width, height))?;
    }
    if let Some((row, column)) = cursor {
        context.set_line_width(2.0);
        context.set_stroke_style_str(&style(canvas, "--text"));
        context.stroke_rect(
            (column as f64 - camera.column) * camera.scale,
            (row as f64 - camera.row) * camera.scale,
            camera.scale.max(3.0),
            camera.scale.max(3.0),
        );
    }
    Ok(())
}

fn style(canvas: &HtmlCanvasElement, name: &str) -> String {
    let style = window().get_computed_style(canvas).ok().flatten();
    style
        .and_then(|style| style.get_property_value(name).ok())
        .unwrap_or_default()
}

fn write_values(
    context: &CanvasRenderingContext2d,
    weights: &Weights,
    camera: Camera,
    (width, height): Size,
) -> Result<(), String> {
    let ground = context
        .canvas()
        .map(|canvas| style(&canvas, "--weight-text"));
    context.set_fill_style_str(&ground.unwrap_or_default());
    context.set_font(&format!("{:.0}px sans-serif", camera.scale * 0.3));
    context.set_text_align("center");
    context.set_text_baseline("middle");
    let last = |from: f64, seen: f64, count: usize| {
        ((from + seen / camera.scale).ceil() as usize).min(count)
    };
    let first = |from: f64| from.max(0.0) as usize;
    for row in first(camera.row)..last(camera.row, height, weights.shown_rows) {
        for column in first(camera.column)..last(camera.column, width, weights.columns) {
            let text = match picture::code(weights, row, column) {
                Some(0) => "0".to_owned(),
                Some(code) => format!("{code:+}"),
                None => format!("{:+.2}", picture::value(weights, row, column)),
            };
            let middle = |index: usize, from: f64| (index as f64 + 0.5 - from) * camera.scale;
            context
                .fill_text(
                    &text,
                    middle(column, camera.column),
                    middle(row, camera.row),
                )
                .map_err(describe)?;
        }
    }
    Ok(())
}
