//! A picture as PNG, twice as large as its units: sharp on today's screens.

use anyhow::{Context, Result};
use tiny_skia::{
    Color, FillRule, LineCap, LineJoin, Paint, PathBuilder, Pixmap, Stroke, Transform,
};
use ttf_parser::Face;

use super::shape::{Anchor, Picture, Rgb, Shape};

const SCALE: f32 = 2.0;
/// DejaVu Sans, the printable ASCII characters and a few signs. No font of the system is needed.
const FONT: &[u8] = include_bytes!("../../../assets/DejaVuSans-subset.ttf");

pub fn font() -> Result<Face<'static>> {
    Face::parse(FONT, 0).context("the built-in font")
}

/// Width of a text; characters that the font lacks are drawn as `?`.
pub fn text_width(face: &Face, text: &str, size: f32) -> f32 {
    let advances = text
        .chars()
        .filter_map(|c| face.glyph_hor_advance(glyph(face, c)?));
    advances.map(f32::from).sum::<f32>() * size / f32::from(face.units_per_em())
}

fn glyph(face: &Face, c: char) -> Option<ttf_parser::GlyphId> {
    face.glyph_index(c).or_else(|| face.glyph_index('?'))
}

/// A glyph's outline into a path, scaled, upside up, moved to its place.
struct Outline {
    path: PathBuilder,
    scale: f32,
    x: f32,
}

impl ttf_parser::OutlineBuilder for Outline {
    fn move_to(&mut self, x: f32, y: f32) {
        self.path.move_to(self.x + x * self.scale, -y * self.scale);
    }
    fn line_to(&mut self, x: f32, y: f32) {
        self.path.line_to(self.x + x * self.scale, -y * self.scale);
    }
    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let s = self.scale;
        self.path
            .quad_to(self.x + x1 * s, -y1 * s, self.x + x * s, -y * s);
    }
    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let s = self.scale;
        self.path.cubic_to(
            self.x + x1 * s,
            -y1 * s,
            self.x + x2 * s,
            -y2 * s,
            self.x + x * s,
            -y * s,
        );
    }
    fn close(&mut self) {
        self.path.close();
    }
}

fn paint(c: &Rgb, opacity: f32) -> Paint<'static> {
    let mut paint = Paint {
        anti_alias: true,
        ..Paint::default()
    };
    paint.set_color_rgba8(c[0], c[1], c[2], (opacity * 255.0).round() as u8);
    paint
}

pub fn draw(picture: &Picture) -> Result<Vec<u8>> {
    let face = font()?;
    let (w, h) = (
        (picture.width * SCALE) as u32,
        (picture.height * SCALE) as u32,
    );
    let mut page = Pixmap::new(w, h).context("the picture has no size")?;
    page.fill(Color::WHITE);
    let whole = Transform::from_scale(SCALE, SCALE);
    for shape in &picture.shapes {
        match shape {
            Shape::Path {
                points,
                color,
                width,
                opacity,
            } => {
                let mut path = PathBuilder::new();
                for (i, (x, y)) in points.iter().enumerate() {
                    if i == 0 {
                        path.move_to(*x, *y)
                    } else {
                        path.line_to(*x, *y)
                    }
                }
                let stroke = Stroke {
                    width: *width,
                    line_cap: LineCap::Round,
                    line_join: LineJoin::Round,
                    ..Stroke::default()
                };
                if let Some(path) = path.finish() {
                    page.stroke_path(&path, &paint(color, *opacity), &stroke, whole, None);
                }
            }
            Shape::Dot {
                at: (x, y),
                radius,
                color,
            } => {
                if let Some(path) = PathBuilder::from_circle(*x, *y, *radius) {
                    page.fill_path(&path, &paint(color, 1.0), FillRule::Winding, whole, None);
                }
            }
            Shape::Text {
                at: (x, y),
                text,
                size,
                anchor,
                color,
                upright,
            } => {
                let width = text_width(&face, text, *size);
                let mut outline = Outline {
                    path: PathBuilder::new(),
                    scale: size / f32::from(face.units_per_em()),
                    x: match anchor {
                        Anchor::Start => 0.0,
                        Anchor::Middle => -width / 2.0,
                        Anchor::End => -width,
                    },
                };
                for id in text.chars().filter_map(|c| glyph(&face, c)) {
                    // A space has no outline.
                    let _ = face.outline_glyph(id, &mut outline);
                    outline.x += f32::from(face.glyph_hor_advance(id).unwrap_or(0)) * outline.scale;
                }
                let turned = if *upright {
                    Transform::from_rotate(-90.0)
                } else {
                    Transform::identity()
                };
                if let Some(path) = outline.path.finish() {
                    let place = turned.post_translate(*x, *y).post_concat(whole);
                    page.fill_path(&path, &paint(color, 1.0), FillRule::Winding, place, None);
                }
            }
        }
    }
    page.encode_png().context("cannot encode the picture")
}
