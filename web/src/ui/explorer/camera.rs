//! Which part of a matrix is seen, and how large.

/// Largest a weight gets, in pixels.
const CLOSEST: f64 = 64.0;

/// What the top left corner of the canvas shows, in weights, and pixels per weight.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Camera {
    pub column: f64,
    pub row: f64,
    pub scale: f64,
}

/// Width and height.
pub type Size = (f64, f64);

impl Camera {
    /// All of the matrix, as large as the canvas allows.
    pub fn fit(matrix: Size, canvas: Size) -> Self {
        let scale = (canvas.0 / matrix.0).min(canvas.1 / matrix.1);
        Camera {
            column: 0.0,
            row: 0.0,
            scale,
        }
        .within(matrix, canvas)
    }

    /// Moves by pixels.
    pub fn moved(self, x: f64, y: f64, matrix: Size, canvas: Size) -> Self {
        Camera {
            column: self.column - x / self.scale,
            row: self.row - y / self.scale,
            ..self
        }
        .within(matrix, canvas)
    }

    /// `factor` times as large; what is at the pixel stays there.
    pub fn zoomed(self, factor: f64, (x, y): (f64, f64), matrix: Size, canvas: Size) -> Self {
        let least = Camera::fit(matrix, canvas).scale.min(1.0);
        let scale = (self.scale * factor).clamp(least, CLOSEST);
        Camera {
            column: self.column + x / self.scale - x / scale,
            row: self.row + y / self.scale - y / scale,
            scale,
        }
        .within(matrix, canvas)
    }

    /// So that a weight is seen.
    pub fn showing(self, row: usize, column: usize, matrix: Size, canvas: Size) -> Self {
        let (wide, high) = (canvas.0 / self.scale, canvas.1 / self.scale);
        let (row, column) = (row as f64, column as f64);
        Camera {
            column: self.column.clamp((column + 1.0 - wide).min(column), column),
            row: self.row.clamp((row + 1.0 - high).min(row), row),
            ..self
        }
        .within(matrix, canvas)
    }

    /// With this point of the picture in the middle, at this many pixels a weight.
    pub fn around((x, y): Size, scale: f64, matrix: Size, canvas: Size) -> Self {
        let scale = scale.clamp(Camera::fit(matrix, canvas).scale.min(1.0), CLOSEST);
        Camera {
            column: x - canvas.0 / scale / 2.0,
            row: y - canvas.1 / scale / 2.0,
            scale,
        }
        .within(matrix, canvas)
    }

    /// The weight at a pixel.
    pub fn at(self, x: f64, y: f64, matrix: Size) -> Option<(usize, usize)> {
        let (column, row) = (self.column + x / self.scale, self.row + y / self.scale);
        let inside = column >= 0.0 && row >= 0.0 && column < matrix.0 && row < matrix.1;
        inside.then_some((row as usize, column as usize))
    }

    /// No further out than the matrix reaches; what is smaller than the canvas is centered.
    pub fn within(self, matrix: Size, canvas: Size) -> Self {
        let keep = |at: f64, whole: f64, seen: f64| match whole > seen {
            true => at.clamp(0.0, whole - seen),
            false => (whole - seen) / 2.0,
        };
        Camera {
            column: keep(self.column, matrix.0, canvas.0 / self.scale),
            row: keep(self.row, matrix.1, canvas.1 / self.scale),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MATRIX: Size = (1000.0, 200.0);
    const CANVAS: Size = (500.0, 300.0);

    #[test]
    fn a_point_stays_where_it_is_zoomed() {
        let camera = Camera::fit(MATRIX, CANVAS).zoomed(8.0, (200.0, 150.0), MATRIX, CANVAS);
        let before = camera.at(210.0, 140.0, MATRIX);
        let after = camera
            .zoomed(2.0, (210.0, 140.0), MATRIX, CANVAS)
            .at(210.0, 140.0, MATRIX);
        assert!(before.is_some());
        assert_eq!(before, after);
    }

    #[test]
    fn nothing_leaves_the_matrix() {
        let camera = Camera::fit(MATRIX, CANVAS);
        assert_eq!(camera.scale, 0.5);
        assert_eq!(camera.moved(1e6, 1e6, MATRIX, CANVAS), camera);
        let close = camera.zoomed(1e9, (0.0, 0.0), MATRIX, CANVAS);
        assert_eq!(close.scale, CLOSEST);
        let end = close.moved(-1e9, -1e9, MATRIX, CANVAS);
        assert_eq!(end.at(499.0, 299.0, MATRIX), Some((199, 999)));
        assert_eq!(camera.at(-1.0, 0.0, MATRIX), None);
    }

    #[test]
    fn a_weight_is_brought_into_sight() {
        let close = Camera::fit(MATRIX, CANVAS).zoomed(40.0, (0.0, 0.0), MATRIX, CANVAS);
        let moved = close.showing(150, 900, MATRIX, CANVAS);
        let (x, y) = (
            (900.5 - moved.column) * moved.scale,
            (150.5 - moved.row) * moved.scale,
        );
        assert_eq!(moved.at(x, y, MATRIX), Some((150, 900)));
        let around = Camera::around((900.5, 150.5), 20.0, MATRIX, CANVAS);
        assert_eq!(around.at(250.0, 150.0, MATRIX), Some((150, 900)));
        assert!((0.0..CANVAS.0).contains(&x) && (0.0..CANVAS.1).contains(&y));
    }
}
