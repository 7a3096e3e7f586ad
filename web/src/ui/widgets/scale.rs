//! The range of a picture's values, and its lines at round numbers.

/// The lines are one of these apart, times a power of ten.
const ROUND: [f64; 7] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0];

/// Lines from `first` to `last`, these many times `apart`.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    first: f64,
    last: f64,
    apart: f64,
}

impl Scale {
    /// What shows every value: from `bottom` to one line above, or from the least value to the
    /// greatest with about four lines between. None if there is no value.
    pub fn of(values: impl Iterator<Item = f64>, bottom: Option<f64>) -> Option<Self> {
        let (low, high) = range(values);
        if !(low.is_finite() && high.is_finite()) {
            return None;
        }
        let (low, intervals) = bottom.map_or((low, 4.0), |bottom| (bottom, 1.0));
        // Values that are all the same need a line above, too.
        let apart = round((high - low).max(high.abs() * 0.01) / intervals);
        let first = (low / apart).floor();
        let last = (high / apart).ceil().max(first + 1.0);
        Some(Self { first, last, apart })
    }

    /// How far below the top, from 0 to 1.
    pub fn below(self, value: f64) -> f64 {
        (self.last - value / self.apart) / (self.last - self.first)
    }

    /// The values of the lines and their names, the top first.
    pub fn lines(self) -> impl Iterator<Item = (f64, String)> {
        (self.first as i64..=self.last as i64)
            .rev()
            .map(move |number| {
                let value = number as f64 * self.apart;
                (value, name(value, self.apart))
            })
    }
}

/// The least value and the greatest; of no values, infinity and its negative.
pub fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    })
}

/// The next round number above.
fn round(number: f64) -> f64 {
    let number = number.max(1e-12);
    let power = 10f64.powf(number.log10().floor());
    let mut all = ROUND.iter().map(|round| round * power);
    all.find(|round| *round >= number).unwrap_or(10.0 * power)
}

/// A value that is some of these steps from zero: "0.25", "800", "5e-4".
fn name(value: f64, step: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let (power, least) = (value.abs().log10().floor(), step.log10().floor());
    if step < 1e-3 {
        let digits = (power - least).max(0.0) as usize;
        return format!("{value:.digits$e}");
    }
    let decimals = (-least).max(0.0) as usize;
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(values: &[f64], bottom: Option<f64>) -> String {
        let scale = Scale::of(values.iter().copied(), bottom).expect("values");
        for value in values {
            assert!((0.0..=1.0).contains(&scale.below(*value)), "{value}");
        }
        let names: Vec<_> = scale.lines().map(|(_, name)| name).collect();
        names.join(" ")
    }

    #[test]
    fn lines_are_at_round_numbers() {
        assert_eq!(names(&[4.146, 0.372], None), "5 4 3 2 1 0");
        assert_eq!(names(&[2.93, 2.51], None), "3.0 2.8 2.6 2.4");
        assert_eq!(names(&[0.38, 0.381], None), "0.381 0.380");
        assert_eq!(names(&[652.0, 688.0], Some(0.0)), "800 0");
        assert_eq!(names(&[0.003, 0.000318], Some(0.0)), "0.003 0");
        assert_eq!(names(&[2e-5], Some(0.0)), "2e-5 0");
        assert_eq!(names(&[0.0], Some(0.0)).split(' ').count(), 2);
    }

    #[test]
    fn no_number_is_there_twice() {
        for low in [0.01, 0.4, 1.0, 2.17, 9.99, 150.0] {
            for span in [0.0, 0.003, 0.02, 0.3, 1.0, 4.4, 70.0] {
                let names = names(&[low, low + span], None);
                let mut all: Vec<_> = names.split(' ').collect();
                let lines = all.len();
                assert!((2..=7).contains(&lines), "{names}");
                all.dedup();
                assert_eq!(all.len(), lines, "{names}");
            }
        }
    }

    #[test]
    fn nothing_has_no_scale() {
        assert!(Scale::of([].into_iter(), None).is_none());
        assert!(Scale::of([f64::NAN].into_iter(), Some(0.0)).is_none());
    }
}
