//! How a matrix lies in its picture: a tall one is cut into strips side by side, a wide one into
//! strips below each other, so that it fills the room there is.

use super::camera::{Camera, Size};

/// So much larger the weights must become for a cut.
const WORTH_A_CUT: f64 = 1.15;
const MOST_STRIPS: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strips {
    rows: usize,
    columns: usize,
    pub count: usize,
    /// Rows are cut, and the strips stand side by side.
    pub side_by_side: bool,
    /// Rows or columns of a strip; the last may have fewer.
    length: usize,
    /// Between two strips, in weights.
    gap: usize,
}

impl Strips {
    /// Those that show a matrix in a room of this size as large as can be.
    pub fn of(rows: usize, columns: usize, room: Size) -> Self {
        let (rows, columns) = (rows.max(1), columns.max(1));
        let side_by_side = rows as f64 * room.0 > columns as f64 * room.1;
        let whole = Self::cut(rows, columns, 1, side_by_side);
        let mut best = (whole, whole.scale(room) * WORTH_A_CUT);
        for count in 2..=MOST_STRIPS {
            let cut = Self::cut(rows, columns, count, side_by_side);
            let scale = cut.scale(room);
            if scale > best.1 {
                best = (cut, scale);
            }
        }
        best.0
    }

    fn cut(rows: usize, columns: usize, count: usize, side_by_side: bool) -> Self {
        let (along, across) = match side_by_side {
            true => (rows, columns),
            false => (columns, rows),
        };
        let length = along.div_ceil(count.max(1)).max(1);
        Self {
            rows,
            columns,
            count: along.div_ceil(length),
            side_by_side,
            length,
            gap: (across / 40).max(1),
        }
    }

    fn scale(self, room: Size) -> f64 {
        Camera::fit(self.size(), room).scale
    }

    /// Of the picture, in weights.
    pub fn size(self) -> Size {
        let across = match self.side_by_side {
            true => self.columns,
            false => self.rows,
        };
        let across = (self.count * (across + self.gap) - self.gap) as f64;
        match self.side_by_side {
            true => (across, self.length as f64),
            false => (self.length as f64, across),
        }
    }

    /// Where the weight of a row and a column lies in the picture.
    pub fn place(self, row: usize, column: usize) -> (usize, usize) {
        let (x, y) = self.point(row as f64, column as f64);
        (x as usize, y as usize)
    }

    /// The same of any point of the matrix.
    pub fn point(self, row: f64, column: f64) -> Size {
        let length = self.length as f64;
        match self.side_by_side {
            true => {
                let strip = (row / length).floor();
                (strip * self.step() + column, row - strip * length)
            }
            false => {
                let strip = (column / length).floor();
                (column - strip * length, strip * self.step() + row)
            }
        }
    }

    /// The row and the column of a point of the picture; between strips they go on where the one
    /// before ends.
    pub fn weight(self, (x, y): Size) -> (f64, f64) {
        let length = self.length as f64;
        let strip = |at: f64| (at / self.step()).floor();
        match self.side_by_side {
            true => (strip(x) * length + y, x - strip(x) * self.step()),
            false => (y - strip(y) * self.step(), strip(y) * length + x),
        }
    }

    /// From one strip to the next.
    fn step(self) -> f64 {
        let across = match self.side_by_side {
            true => self.columns,
            false => self.rows,
        };
        (across + self.gap) as f64
    }

    /// The row and the column of what lies there; nothing between strips and behind the last.
    pub fn at(self, x: usize, y: usize) -> Option<(usize, usize)> {
        let (row, column) = match self.side_by_side {
            true => {
                let whole = self.columns + self.gap;
                ((x / whole) * self.length + y, x % whole)
            }
            false => {
                let whole = self.rows + self.gap;
                (y % whole, (y / whole) * self.length + x)
            }
        };
        (row < self.rows && column < self.columns).then_some((row, column))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_weight_has_a_place_of_its_own() {
        for (rows, columns) in [
            (704, 256),
            (256, 704),
            (3072, 256),
            (5, 5),
            (1, 900),
            (7, 3),
        ] {
            let strips = Strips::of(rows, columns, (640.0, 400.0));
            let (width, height) = strips.size();
            let mut found = 0;
            for y in 0..height as usize {
                for x in 0..width as usize {
                    if let Some((row, column)) = strips.at(x, y) {
                        assert_eq!(strips.place(row, column), (x, y));
                        let point = (x as f64 + 0.5, y as f64 + 0.5);
                        let (row, column) = strips.weight(point);
                        assert_eq!(strips.point(row, column), point);
                        found += 1;
                    }
                }
            }
            assert_eq!(found, rows * columns, "{strips:?}");
        }
    }

    #[test]
    fn what_fits_well_is_not_cut() {
        let room = (640.0, 480.0);
        assert_eq!(Strips::of(300, 400, room).count, 1);
        assert_eq!(Strips::of(256, 256, room).count, 1);
        let tall = Strips::of(32_000, 2048, room);
        assert!(tall.side_by_side && tall.count > 2);
        assert!(tall.scale(room) > 3.0 * Camera::fit((2048.0, 32_000.0), room).scale);
        let wide = Strips::of(256, 2560, room);
        assert!(!wide.side_by_side && wide.count > 1);
    }
}
