//! What pictures are made of; `svg.rs` and `png.rs` draw the same list.

/// Red, green, blue.
pub type Rgb = [u8; 3];

#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    Path {
        points: Vec<(f32, f32)>,
        color: Rgb,
        width: f32,
        /// 1 = opaque.
        opacity: f32,
    },
    Dot {
        at: (f32, f32),
        radius: f32,
        color: Rgb,
    },
    Text {
        /// On the base line.
        at: (f32, f32),
        text: String,
        size: f32,
        anchor: Anchor,
        color: Rgb,
        /// Written upwards.
        upright: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// Shapes on a white page.
#[derive(Clone, Debug)]
pub struct Picture {
    pub width: f32,
    pub height: f32,
    pub shapes: Vec<Shape>,
}
