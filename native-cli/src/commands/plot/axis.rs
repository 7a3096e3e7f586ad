//! Axes: from values to pixels, with round ticks.

/// The values an axis shows, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Axis {
    low: f64,
    high: f64,
    log: bool,
}

impl Axis {
    /// An axis that holds all `values`; logarithmic ones leave out what is not above zero. `None`
    /// without values.
    pub fn around(values: impl Iterator<Item = f64>, log: bool, margin: f64) -> Option<Self> {
        let map = |v: f64| if log { v.log10() } else { v };
        let (low, high) = values
            .filter(|v| v.is_finite() && (!log || *v > 0.0))
            .map(map)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| {
                (l.min(v), h.max(v))
            });
        if low > high {
            return None;
        }
        // A constant still needs a height.
        let span = if high > low {
            high - low
        } else if log {
            0.2
        } else {
            (high.abs() * 0.2).max(1e-12)
        };
        let widen = if high > low {
            margin * span
        } else {
            span / 2.0
        };
        Some(Axis {
            low: low - widen,
            high: high + widen,
            log,
        })
    }

    /// Where a value lies: 0 at the beginning, 1 at the end. `None` where a logarithmic axis has no
    /// place for it.
    pub fn place(&self, value: f64) -> Option<f64> {
        if self.log && value <= 0.0 {
            return None;
        }
        let v = if self.log { value.log10() } else { value };
        Some((v - self.low) / (self.high - self.low))
    }

    /// Round values, about `count` of them.
    pub fn ticks(&self, count: usize) -> Vec<f64> {
        let (low, high) = (self.low, self.high);
        if !self.log {
            return linear(low, high, count);
        }
        let decades = high - low;
        let (first, last) = (10f64.powf(low), 10f64.powf(high));
        if decades < 1.0 {
            return linear(first, last, count)
                .into_iter()
                .filter(|v| *v > 0.0)
                .collect();
        }
        let parts: &[f64] = if decades < 3.5 {
            &[1.0, 2.0, 5.0]
        } else {
            &[1.0]
        };
        let every = (decades / count as f64).ceil().max(1.0) as i32;
        let mut ticks = Vec::new();
        for exponent in (low.floor() as i32)..=(high.ceil() as i32) {
            if exponent.rem_euclid(every) == 0 {
                ticks.extend(parts.iter().map(|p| p * 10f64.powi(exponent)));
            }
        }
        ticks.retain(|v| *v >= first * (1.0 - 1e-9) && *v <= last * (1.0 + 1e-9));
        ticks
    }
}

/// Multiples of 1, 2 or 5 times a power of ten.
fn linear(low: f64, high: f64, count: usize) -> Vec<f64> {
    let raw = (high - low) / count.max(1) as f64;
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|m| m * power)
        .into_iter()
        .find(|s| *s >= raw * (1.0 - 1e-9))
        .unwrap_or(power * 10.0);
    let (first, last) = (
        (low / step - 1e-9).ceil() as i64,
        (high / step + 1e-9).floor() as i64,
    );
    (first..=last).map(|i| i as f64 * step).collect()
}

/// A tick's value, short: 1500 → 1500, 20000 → 20k, 3e6 → 3M, 0.0005 → 5e-4.
pub fn label(value: f64) -> String {
    let a = value.abs();
    if a == 0.0 {
        return "0".into();
    }
    for (unit, name) in [(1e9f64, "G"), (1e6, "M"), (1e3, "k")] {
        if a >= unit.max(1e4) {
            return short(value / unit) + name;
        }
    }
    if a < 1e-3 {
        let exponent = a.log10().floor() as i32;
        return format!("{}e{exponent}", short(value / 10f64.powi(exponent)));
    }
    short(value)
}

/// At most four digits after the point, none of them idle zeros.
fn short(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let ticks = |low: f64, high: f64, log| {
            Axis::around([low, high].into_iter(), log, 0.0)
                .unwrap()
                .ticks(6)
        };
        assert_eq!(
            ticks(0.0, 300.0, false),
            [0.0, 50.0, 100.0, 150.0, 200.0, 250.0, 300.0]
        );
        assert_eq!(ticks(2.1, 5.7, false), [3.0, 4.0, 5.0]);
        assert_eq!(
            ticks(1.0, 1e6, true),
            [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6]
        );
        assert_eq!(
            ticks(10.0, 900.0, true),
            [10.0, 20.0, 50.0, 100.0, 200.0, 500.0]
        );
        assert!(ticks(2.0, 3.0, true).len() > 3);
        assert_eq!(Axis::around([0.0, -1.0].into_iter(), true, 0.0), None);
        let constant = Axis::around([3.0].into_iter(), false, 0.05).unwrap();
        assert_eq!(constant.place(3.0), Some(0.5));
    }

    #[test]
    fn labels_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (2.5, "2.5"),
            (1500.0, "1500"),
            (20_000.0, "20k"),
            (3e6, "3M"),
            (2.5e9, "2.5G"),
            (5e-4, "5e-4"),
            (-0.25, "-0.25"),
        ] {
            assert_eq!(label(value), text);
        }
    }
}
