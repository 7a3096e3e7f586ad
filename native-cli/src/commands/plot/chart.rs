//! Lays a chart out: axes with round ticks, a legend above, the curves.

use ttf_parser::Face;

use super::axis::{Axis, label};
use super::png::text_width;
use super::series::Curve;
use super::shape::{Anchor, Picture, Rgb, Shape};

const WIDTH: f32 = 960.0;
const HEIGHT: f32 = 560.0;
const LEFT: f32 = 76.0;
const RIGHT: f32 = 28.0;
const TOP: f32 = 20.0;
const BOTTOM: f32 = 58.0;
const ROW: f32 = 22.0;
const TEXT: f32 = 13.0;

const INK: Rgb = [0x33, 0x33, 0x33];
const GRID: Rgb = [0xe2, 0xe2, 0xe2];
/// Okabe & Ito's colors, told apart by the color-blind too.
const COLOURS: [Rgb; 7] = [
    [0x00, 0x72, 0xb2],
    [0xd5, 0x5e, 0x00],
    [0x00, 0x9e, 0x73],
    [0xcc, 0x79, 0xa7],
    [0xe6, 0x9f, 0x00],
    [0x56, 0xb4, 0xe9],
    [0x33, 0x33, 0x33],
];

/// How a curve is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Line,
    /// Behind the others.
    Faint,
    Dotted,
}

/// A curve of a run.
pub struct Drawn {
    pub run: usize,
    pub style: Style,
    pub curve: Curve,
}

pub struct Chart {
    pub runs: Vec<String>,
    pub curves: Vec<Drawn>,
    pub x_title: &'static str,
    pub y_title: &'static str,
    /// Said in the legend where both kinds of curve are drawn: what lines and dotted lines are.
    pub styles: Option<(&'static str, &'static str)>,
    pub log: (bool, bool),
}

/// An entry of the legend: a sample in a color, and a text.
struct Entry {
    color: Rgb,
    dotted: bool,
    text: String,
}

impl Chart {
    /// `None` when no point can be shown.
    pub fn draw(&self, face: &Face) -> Option<Picture> {
        let points = || self.curves.iter().flat_map(|c| &c.curve.points);
        // Runs begin at zero, though their first line comes later; a logarithmic axis leaves it
        // out.
        let xs = points().map(|p| p.0).chain([0.0]);
        let x_axis = Axis::around(xs, self.log.0, 0.0)?;
        let y_axis = Axis::around(points().map(|p| p.1), self.log.1, 0.04)?;
        let mut shapes = Vec::new();
        let rows = self.legend(face, &mut shapes);
        let (left, right) = (LEFT, WIDTH - RIGHT);
        let (top, bottom) = (TOP + rows as f32 * ROW + 8.0, HEIGHT - BOTTOM);
        let at_x = |v: f64| Some(left + (right - left) * x_axis.place(v)? as f32);
        let at_y = |v: f64| Some(bottom - (bottom - top) * y_axis.place(v)? as f32);

        let text = |at, text: String, anchor, upright| Shape::Text {
            at,
            text,
            size: TEXT,
            anchor,
            color: INK,
            upright,
        };
        let line = |points: Vec<(f32, f32)>, color, width, opacity| Shape::Path {
            points,
            color,
            width,
            opacity,
        };
        for tick in y_axis.ticks(7) {
            if let Some(y) = at_y(tick).filter(|y| (top..=bottom).contains(y)) {
                shapes.push(line(vec![(left, y), (right, y)], GRID, 1.0, 1.0));
                shapes.push(text((left - 8.0, y + 4.5), label(tick), Anchor::End, false));
            }
        }
        for tick in x_axis.ticks(9) {
            if let Some(x) = at_x(tick).filter(|x| (left - 0.5..=right + 0.5).contains(x)) {
                shapes.push(line(vec![(x, top), (x, bottom)], GRID, 1.0, 1.0));
                shapes.push(text((x, bottom + 19.0), label(tick), Anchor::Middle, false));
            }
        }
        for (style, width, opacity) in [
            (Style::Faint, 1.0, 0.3),
            (Style::Line, 1.8, 1.0),
            (Style::Dotted, 1.8, 1.0),
        ] {
            for drawn in self.curves.iter().filter(|c| c.style == style) {
                let color = COLOURS[drawn.run % COLOURS.len()];
                let thin = drawn.curve.thinned();
                let places: Vec<(f32, f32)> = thin
                    .points
                    .iter()
                    .filter_map(|(x, y)| Some((at_x(*x)?, at_y(*y)?)))
                    .collect();
                let width = if self.styles.is_some() && style == Style::Line {
                    1.4
                } else {
                    width
                };
                if places.len() > 1 {
                    shapes.push(line(places.clone(), color, width, opacity));
                }
                // One point is no line; and dots mark validations, as many as can be told apart.
                let mut last = f32::NEG_INFINITY;
                for at in &places {
                    let apart = at.0 - last >= 14.0;
                    if places.len() == 1 || (style == Style::Dotted && apart) {
                        last = at.0;
                        shapes.push(Shape::Dot {
                            at: *at,
                            radius: 3.2,
                            color,
                        });
                    }
                }
            }
        }
        shapes.push(line(
            vec![(left, top), (left, bottom), (right, bottom)],
            INK,
            1.2,
            1.0,
        ));
        shapes.push(text(
            ((left + right) / 2.0, HEIGHT - 14.0),
            self.x_title.into(),
            Anchor::Middle,
            false,
        ));
        shapes.push(text(
            (20.0, (top + bottom) / 2.0),
            self.y_title.into(),
            Anchor::Middle,
            true,
        ));
        Some(Picture {
            width: WIDTH,
            height: HEIGHT,
            shapes,
        })
    }

    /// Draw the legend; returns its rows.
    fn legend(&self, face: &Face, shapes: &mut Vec<Shape>) -> usize {
        let mut entries: Vec<Entry> = (self.runs.iter().enumerate())
            .map(|(i, name)| Entry {
                color: COLOURS[i % COLOURS.len()],
                dotted: false,
                text: fit(face, name, 300.0),
            })
            .collect();
        if let Some((plain, dotted)) = self.styles {
            for (text, dotted) in [(plain, false), (dotted, true)] {
                entries.push(Entry {
                    color: [0x88, 0x88, 0x88],
                    dotted,
                    text: text.into(),
                });
            }
        }
        let (mut x, mut row) = (LEFT, 0);
        for e in entries {
            let width = 34.0 + text_width(face, &e.text, TEXT) + 22.0;
            if x + width > WIDTH - RIGHT && x > LEFT {
                (x, row) = (LEFT, row + 1);
            }
            let y = TOP + row as f32 * ROW + ROW / 2.0;
            shapes.push(Shape::Path {
                points: vec![(x, y), (x + 26.0, y)],
                color: e.color,
                width: if e.dotted { 1.8 } else { 2.2 },
                opacity: 1.0,
            });
            if e.dotted {
                shapes.push(Shape::Dot {
                    at: (x + 13.0, y),
                    radius: 3.2,
                    color: e.color,
                });
            }
            shapes.push(Shape::Text {
                at: (x + 34.0, y + 4.5),
                text: e.text,
                size: TEXT,
                anchor: Anchor::Start,
                color: INK,
                upright: false,
            });
            x += width;
        }
        row + 1
    }
}

/// A name shortened to a width, its beginning and end kept.
fn fit(face: &Face, name: &str, width: f32) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut kept = letters.len();
    loop {
        let text: String = if kept >= letters.len() {
            name.to_owned()
        } else {
            let (head, tail) = (kept.div_ceil(2), letters.len() - kept / 2);
            letters[..head]
                .iter()
                .chain(['…'].iter())
                .chain(&letters[tail..])
                .collect()
        };
        if kept <= 2 || text_width(face, &text, TEXT) <= width {
            return text;
        }
        kept -= 1;
    }
}
