//! A picture as SVG.

use std::fmt::Write;

use super::shape::{Anchor, Picture, Rgb, Shape};

fn color(c: &Rgb) -> String {
    format!("#{:02x}{:02x}{:02x}", c[0], c[1], c[2])
}

fn escape(text: &str) -> String {
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    // Characters that XML does not allow at all.
    text.replace(|c: char| c.is_control(), "\u{fffd}")
}

pub fn draw(picture: &Picture) -> String {
    let (w, h) = (picture.width, picture.height);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\" \
         font-family=\"DejaVu Sans, Verdana, sans-serif\">\n<rect width=\"{w}\" height=\"{h}\" fill=\"#ffffff\"/>\n"
    );
    for shape in &picture.shapes {
        // Writing into a string cannot fail.
        let _ = match shape {
            Shape::Path {
                points,
                color: c,
                width,
                opacity,
            } => {
                let list: Vec<String> = points
                    .iter()
                    .map(|(x, y)| format!("{x:.1},{y:.1}"))
                    .collect();
                writeln!(
                    out,
                    "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{width}\" stroke-opacity=\"{opacity}\" \
                     stroke-linejoin=\"round\" stroke-linecap=\"round\"/>",
                    list.join(" "),
                    color(c)
                )
            }
            Shape::Dot {
                at: (x, y),
                radius,
                color: c,
            } => {
                writeln!(
                    out,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{}\"/>",
                    color(c)
                )
            }
            Shape::Text {
                at: (x, y),
                text,
                size,
                anchor,
                color: c,
                upright,
            } => {
                let anchor = match anchor {
                    Anchor::Start => "start",
                    Anchor::Middle => "middle",
                    Anchor::End => "end",
                };
                let turn = if *upright {
                    format!(" transform=\"rotate(-90 {x:.1} {y:.1})\"")
                } else {
                    String::new()
                };
                writeln!(
                    out,
                    "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" text-anchor=\"{anchor}\" fill=\"{}\"{turn}>{}</text>",
                    color(c),
                    escape(text)
                )
            }
        };
    }
    out + "</svg>\n"
}
