//! A picture of a layer's matrices, or of all of the model's.

use std::cell::RefCell;

use futures_channel::oneshot;
use leptos::prelude::*;
use ternary::session::{Event, ModelTask, Weights};
use web_sys::HtmlCanvasElement;

use super::cells::Cell;
use super::drawing::{context, paint, palette};
use super::export::{ground, write};
use super::state::Explorer;
use super::strips::Strips;
use crate::js::describe;
use crate::protocol::{Response, Task};
use crate::ui::widgets::figures;

/// Around and between matrices, and the height of a line of text, in pixels.
const MARGIN: f64 = 32.0;
const GAP: f64 = 12.0;
const LINE: f64 = 28.0;
/// The widest a poster gets, and the most pixels it has: browsers have limits.
const WIDEST: f64 = 8192.0;
const MOST_PIXELS: f64 = 6.4e7;

/// A matrix of a poster: where it stands, at a pixel a weight.
struct Placed {
    cell: Cell,
    strips: Strips,
    x: f64,
    y: f64,
}

/// Where the matrices of a poster stand, and how large all of it is, in weights; `pixel` of them
/// are as large as a pixel.
fn place(
    cells: &[Vec<Cell>],
    shape: impl Fn(Cell) -> (usize, usize),
    pixel: f64,
) -> (Vec<Placed>, f64, f64) {
    let (gap, line) = (GAP * pixel, LINE * pixel);
    // A layer's matrices are cut to be as low as the lowest, the ends to be as wide as a layer.
    let layer = || cells.iter().filter(|cells| cells.len() > 1).flatten();
    let rows = layer().map(|cell| shape(*cell).0 as f64);
    let lowest = rows.fold(f64::INFINITY, f64::min);
    let count = cells.iter().filter(|cells| cells.len() > 1).count();
    let size = |cell: &Cell| {
        let (rows, columns) = shape(*cell);
        rows as f64 * columns as f64
    };
    let widest = match count {
        0 => cells
            .iter()
            .flatten()
            .map(|cell| size(cell).sqrt())
            .fold(1.0, f64::max),
        count => layer().map(size).sum::<f64>() / count as f64 / lowest,
    };
    let mut placed = Vec::new();
    let (mut y, mut right) = (line * 2.0, 0.0f64);
    for row in cells {
        let (mut x, mut bottom) = (0.0, y);
        for cell in row {
            let (rows, columns) = shape(*cell);
            let size = rows as f64 * columns as f64;
            let room = match row.len() {
                1 => (widest, size / widest),
                _ => (size / lowest, lowest),
            };
            let strips = Strips::of(rows, columns, room);
            let (wide, high) = strips.size();
            placed.push(Placed {
                cell: *cell,
                strips,
                x,
                y: y + line,
            });
            right = right.max(x + wide);
            bottom = bottom.max(y + line + high);
            x += wide + gap;
        }
        y = bottom + gap;
    }
    (placed, right, y)
}

pub async fn draw_poster(
    e: Explorer,
    title: &str,
    cells: Vec<Vec<Cell>>,
    told: impl Fn(usize),
) -> Result<HtmlCanvasElement, String> {
    let model = e.engine.model.get_untracked().ok_or("no model is loaded")?;
    let config = model.config;
    let shape = |cell: Cell| match cell {
        Cell::Matrix(_, kind) => config.matrix_shape(kind),
        Cell::Embedding | Cell::Head => (config.vocab_size, config.hidden_size),
    };
    let fitting = |(_, width, height): &(_, f64, f64)| {
        let pixels = (MOST_PIXELS / (width * height)).sqrt();
        (WIDEST / width).min(pixels).min(1.0)
    };
    let scale = fitting(&place(&cells, shape, 1.0));
    // Text takes more weights' room where they are smaller.
    let all = place(&cells, shape, 1.0 / scale);
    let scale = scale.min(fitting(&all));
    let (placed, width, height) = all;
    let poster = ground(width * scale + 2.0 * MARGIN, height * scale + 2.0 * MARGIN)?;
    let context = context(&poster)?;
    let room = width * scale;
    write(&context, title, (MARGIN, MARGIN + LINE / 2.0), 24.0, room)?;
    let subtitle = "Each dot is one weight: orange below 0, blue above.";
    write(
        &context,
        subtitle,
        (MARGIN, MARGIN + LINE * 1.4),
        14.0,
        room,
    )?;
    let palette = palette();
    for (drawn, part) in placed.into_iter().enumerate() {
        told(drawn);
        let weights = read(e, part.cell).await?;
        // Of a matrix that is too large to be read as a whole, the first rows.
        let strips = match weights.shown_rows == weights.rows {
            true => part.strips,
            false => Strips::of(weights.shown_rows, weights.columns, part.strips.size()),
        };
        let image = paint(&weights, None, strips, &palette)?;
        let (x, y) = (MARGIN + part.x * scale, MARGIN + part.y * scale);
        let (wide, high) = strips.size();
        context
            .draw_image_with_html_canvas_element_and_dw_and_dh(
                &image,
                x,
                y,
                wide * scale,
                high * scale,
            )
            .map_err(describe)?;
        let mode = figures::quant_mode(weights.mode);
        let name = format!("{}, {mode}", part.cell.label());
        write(&context, &name, (x, y - 10.0), 13.0, wide * scale)?;
    }
    Ok(poster)
}

/// A matrix as the edited map has it.
async fn read(e: Explorer, cell: Cell) -> Result<Weights, String> {
    let mode = e
        .map
        .with_untracked(|map| map.as_ref().map(|map| cell.mode(map)));
    let mode = mode.ok_or("no model is loaded")?;
    let (answer, answered) = oneshot::channel();
    let answer = RefCell::new(Some(answer));
    let on_response = move |_, response| {
        let told = match response {
            Response::Event(Event::Weights { weights }) => Ok(*weights),
            Response::Event(Event::Error { message }) => Err(message),
            _ => return,
        };
        if let Some(answer) = answer.borrow_mut().take() {
            // Nobody waits any more if that fails.
            answer.send(told).ok();
        }
    };
    let name = cell.parameter();
    let task = Task::Model(ModelTask::Preview { name, mode });
    e.engine.task(task, on_response);
    answered.await.map_err(|_| "the engine was replaced")?
}
