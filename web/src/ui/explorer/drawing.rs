//! Weights on a canvas: the matrix as a picture, and what stands on the part that is seen.

use leptos::prelude::{document, window};
use ternary::config::QuantMode;
use ternary::session::Weights;
use wasm_bindgen::{Clamped, JsCast};
use web_sys::{CanvasRenderingContext2d, HtmlCanvasElement, ImageData};

use super::camera::{Camera, Size};
use super::picture::{self, Palette, parse_color};
use super::strips::Strips;
use crate::js::describe;

/// Pixels of a weight from which its value is written into it.
const READABLE: f64 = 30.0;

/// The scheme's colors, from the style sheet.
pub fn palette() -> Palette {
    let color = |name: &str| parse_color(&style(name));
    Palette {
        minus: color("--minus").unwrap_or([190, 90, 30]),
        zero: color("--zero").unwrap_or([240, 240, 240]),
        plus: color("--plus").unwrap_or([30, 90, 85]),
        flip: color("--flip").unwrap_or([200, 0, 120]),
    }
}

pub fn context(canvas: &HtmlCanvasElement) -> Result<CanvasRenderingContext2d, String> {
    canvas
        .get_context("2d")
        .map_err(describe)?
        .and_then(|context| context.dyn_into().ok())
        .ok_or_else(|| "this browser draws no canvas".to_owned())
}

/// A canvas of its own.
pub fn canvas(width: u32, height: u32) -> Result<HtmlCanvasElement, String> {
    let canvas: HtmlCanvasElement = document()
        .create_element("canvas")
        .map_err(describe)?
        .unchecked_into();
    canvas.set_width(width);
    canvas.set_height(height);
    Ok(canvas)
}

/// The matrix, a pixel per weight.
pub fn paint(
    weights: &Weights,
    other: Option<&Weights>,
    strips: Strips,
    palette: &Palette,
) -> Result<HtmlCanvasElement, String> {
    let (width, height) = strips.size();
    let (width, height) = (width as u32, height as u32);
    let painted = canvas(width, height)?;
    let pixels = picture::pixels(weights, other, strips, palette);
    let data = ImageData::new_with_u8_clamped_array_and_sh(Clamped(&pixels), width, height)
        .map_err(describe)?;
    context(&painted)?
        .put_image_data(&data, 0.0, 0.0)
        .map_err(describe)?;
    Ok(painted)
}

/// A painted matrix, on its way to take the place of the one painted before.
#[derive(Clone)]
pub struct Painted {
    image: HtmlCanvasElement,
    before: Option<HtmlCanvasElement>,
}

impl Painted {
    pub fn new(image: HtmlCanvasElement) -> Self {
        Self {
            image,
            before: None,
        }
    }

    /// Another, which comes over this one.
    pub fn followed_by(&self, image: HtmlCanvasElement) -> Self {
        Self {
            image,
            before: Some(self.image.clone()),
        }
    }
}

/// `share` of a picture is there, and of the one before it the rest.
pub fn draw(
    canvas: &HtmlCanvasElement,
    (painted, share): (&Painted, f64),
    (weights, strips): (&Weights, Strips),
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
    let put = |image: &HtmlCanvasElement| {
        context
            .draw_image_with_html_canvas_element_and_dw_and_dh(
                image,
                -camera.column * camera.scale,
                -camera.row * camera.scale,
                strips.size().0 * camera.scale,
                strips.size().1 * camera.scale,
            )
            .map_err(describe)
    };
    if let Some(before) = painted.before.as_ref().filter(|_| share < 1.0) {
        put(before)?;
        context.set_global_alpha(share);
    }
    put(&painted.image)?;
    context.set_global_alpha(1.0);
    if camera.scale >= READABLE {
        write_values(&context, (weights, strips), camera, (width, height))?;
    }
    if let Some((row, column)) = cursor {
        let (x, y) = strips.place(row, column);
        context.set_line_width(2.0);
        context.set_stroke_style_str(&style("--text"));
        context.stroke_rect(
            (x as f64 - camera.column) * camera.scale,
            (y as f64 - camera.row) * camera.scale,
            camera.scale.max(3.0),
            camera.scale.max(3.0),
        );
    }
    Ok(())
}

/// A value of the style sheet.
pub fn style(name: &str) -> String {
    let root = document().document_element();
    let style = root.and_then(|root| window().get_computed_style(&root).ok().flatten());
    style
        .and_then(|style| style.get_property_value(name).ok())
        .map(|value| value.trim().to_owned())
        .unwrap_or_default()
}

fn write_values(
    context: &CanvasRenderingContext2d,
    (weights, strips): (&Weights, Strips),
    camera: Camera,
    (width, height): Size,
) -> Result<(), String> {
    let (usual, faint) = (style("--weight-text"), style("--soft"));
    // Codes smaller than that have nearly the color of 0, which is dark in the dark scheme.
    let small = match weights.mode {
        QuantMode::EightBit => 40,
        _ => 1,
    };
    context.set_font(&format!("{:.0}px sans-serif", camera.scale * 0.3));
    context.set_text_align("center");
    context.set_text_baseline("middle");
    let seen = |from: f64, seen: f64, whole: f64| {
        let last = (from + seen / camera.scale).ceil().min(whole);
        from.max(0.0) as usize..last as usize
    };
    let (columns, rows) = strips.size();
    for y in seen(camera.row, height, rows) {
        for x in seen(camera.column, width, columns) {
            let Some((row, column)) = strips.at(x, y) else {
                continue;
            };
            let text = match weights.code(row, column) {
                Some(0) => "0".to_owned(),
                Some(code) => format!("{code:+}"),
                None => format!("{:+.2}", weights.value(row, column)),
            };
            let is_faint = weights
                .code(row, column)
                .is_some_and(|code| code.unsigned_abs() < small);
            context.set_fill_style_str(if is_faint { &faint } else { &usual });
            let middle = |index: usize, from: f64| (index as f64 + 0.5 - from) * camera.scale;
            context
                .fill_text(&text, middle(x, camera.column), middle(y, camera.row))
                .map_err(describe)?;
        }
    }
    Ok(())
}
