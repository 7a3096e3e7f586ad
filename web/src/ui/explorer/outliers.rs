//! Rows of a matrix that are unlike the others.

/// They lie so many typical distances from the middle one; the farthest are named.
const FAR: f64 = 6.0;
const MOST_NAMED: usize = 8;

/// The rows that lie far from the middle one, the farthest first, as multiples of it.
pub fn outliers(rows: &[f64]) -> Vec<(usize, f64)> {
    let middle = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    let median = middle(rows.to_vec());
    let typical = middle(rows.iter().map(|size| (size - median).abs()).collect());
    let mut far: Vec<(usize, f64)> = rows
        .iter()
        .enumerate()
        .filter(|(_, size)| (*size - median).abs() > FAR * typical.max(median * 1e-3))
        .map(|(row, size)| (row, size / median.max(f64::MIN_POSITIVE)))
        .collect();
    far.sort_by(|a, b| (b.1 - 1.0).abs().total_cmp(&(a.1 - 1.0).abs()));
    far.truncate(MOST_NAMED);
    far
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_stand_out_are_named() {
        let mut rows: Vec<f64> = (0..100)
            .map(|row| 1.0 + 0.01 * f64::from(row % 7))
            .collect();
        assert_eq!(outliers(&rows), []);
        rows[17] = 3.0;
        rows[40] = 0.1;
        let found: Vec<usize> = outliers(&rows).iter().map(|(row, _)| *row).collect();
        assert_eq!(found, [17, 40]);
        assert_eq!(outliers(&[]), []);
        assert_eq!(outliers(&[2.0; 50]), []);
    }
}
