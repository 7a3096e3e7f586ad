//! A Gaussian process over bit-maps that predicts losses from those measured (Rasmussen & Williams
//! 2006, algorithm 2.1).
//!
//! The prior mean of a map is additive: the loss of the finest map and, for every unit, the effect
//! of its mode alone. That ranks maps well and decides badly, so the process learns the rest. With
//! dᵢ the effect of unit i's mode and A = Σ dᵢ, maps x and x' are alike by
//! - Σ dᵢ·dᵢ': effects that are larger or smaller in company,
//! - A·A' and (A·A')²: damage that compounds or saturates,
//! - Σ_{i<j} dᵢdⱼ·dᵢ'dⱼ': pairs of units,
//! - √(A·A')·exp(−h/2), h the units in which they differ: whatever else.

use super::space::Point;

/// Weights of the five parts.
type Weights = [f64; 5];

/// Tried when fitting; the likeliest is kept.
const PRIORS: [Weights; 10] = [
    [0.10, 0.10, 0.03, 0.03, 1e-3],
    [0.30, 0.10, 0.10, 0.10, 1e-3],
    [0.03, 0.30, 0.30, 0.03, 1e-3],
    [0.10, 0.03, 0.01, 0.30, 1e-3],
    [0.10, 0.10, 0.10, 0.10, 1e-2],
    [0.03, 0.03, 0.01, 0.01, 1e-2],
    [0.01, 0.03, 0.03, 0.01, 1e-4],
    [0.30, 0.30, 0.30, 0.30, 1e-4],
    [0.30, 0.30, 0.10, 0.30, 1e-1],
    [0.01, 0.01, 0.01, 0.01, 1e-1],
];

/// Relative to a map's own variance: keeps the factorisation stable.
const JITTER: f64 = 1e-8;

/// Maps that the prior belief in the scale of deviations, the sum of all effects, counts for.
const CONFIDENCE: f64 = 2.0;

/// What the kernel sees of a map.
#[derive(Clone)]
struct Features {
    effects: Vec<f64>,
    total: f64,
}

/// Predicts losses of maps.
pub struct Surrogate {
    /// Effect of every mode of every unit on the loss.
    effects: Vec<Vec<f64>>,
    base: f64,
    unit: f64,
    weights: Weights,
    variance: f64,
    /// Squared standard deviations by which predictions were off, and their number.
    surprises: (f64, f64),
    /// Maps that the effects were measured on.
    own: usize,
    points: Vec<(Point, Features)>,
    residuals: Vec<f64>,
    /// Lower triangle of the Cholesky factor, row after row.
    factor: Vec<f64>,
    /// K⁻¹·residuals.
    solved: Vec<f64>,
}

impl Surrogate {
    /// `effects[i][m]`: what mode m of unit i alone adds to `base`, the loss of the finest map.
    pub fn new(effects: Vec<Vec<f64>>, base: f64) -> Self {
        let largest = |e: &Vec<f64>| e.iter().fold(0.0f64, |a, b| a.max(b.abs()));
        let unit = effects.iter().map(largest).sum::<f64>().max(1e-9);
        Surrogate {
            base,
            unit,
            weights: PRIORS[0],
            variance: unit * unit,
            surprises: (0.0, 0.0),
            own: 1 + effects.iter().map(|e| e.len() - 1).sum::<usize>(),
            points: Vec::new(),
            residuals: Vec::new(),
            factor: Vec::new(),
            solved: Vec::new(),
            effects,
        }
    }

    fn features(&self, point: &[u8]) -> Features {
        let modes = self.effects.iter().zip(point);
        let effects: Vec<f64> = modes.map(|(e, m)| e[usize::from(*m)] / self.unit).collect();
        Features {
            total: effects.iter().sum(),
            effects,
        }
    }

    /// The additive prediction.
    fn mean(&self, f: &Features) -> f64 {
        self.base + f.total * self.unit
    }

    fn kernel(&self, (x, a): (&[u8], &Features), (y, b): (&[u8], &Features)) -> f64 {
        let (mut sum, mut squares, mut differ) = (0.0, 0.0, 0);
        for i in 0..a.effects.len() {
            let product = a.effects[i] * b.effects[i];
            sum += product;
            squares += product * product;
            differ += usize::from(x[i] != y[i]);
        }
        // Even where nothing was lost so far, something may be.
        let size = |f: &Features| f.total.abs().max(0.01).sqrt();
        let totals = a.total * b.total;
        let [w0, w1, w2, w3, w4] = self.weights;
        w0 * sum
            + w1 * totals
            + w2 * totals * totals
            + w3 * (sum * sum - squares) / 2.0
            + w4 * size(a) * size(b) * libm::exp(-0.5 * differ as f64)
    }

    fn row(&self, point: &[u8], f: &Features) -> Vec<f64> {
        let known = self.points.iter();
        known
            .map(|(p, g)| self.kernel((point, f), (p, g)))
            .collect()
    }

    /// Solve L·x = b in place for the first `b.len()` rows.
    fn forward(&self, b: &mut [f64]) {
        let mut row = 0;
        for i in 0..b.len() {
            let l = &self.factor[row..=row + i];
            let dot: f64 = l[..i].iter().zip(&b[..i]).map(|(l, x)| l * x).sum();
            b[i] = (b[i] - dot) / l[i];
            row += i + 1;
        }
    }

    /// Append the last point to the factor.
    fn extend(&mut self) {
        let (point, f) = self.points[self.points.len() - 1].clone();
        let mut row = self.row(&point, &f);
        let own = row.pop().unwrap_or(0.0) + self.jitter(&point, &f);
        self.forward(&mut row);
        let left = own - row.iter().map(|v| v * v).sum::<f64>();
        self.factor.extend(row);
        self.factor.push(left.max(own * 1e-12).max(1e-300).sqrt());
    }

    fn jitter(&self, point: &[u8], f: &Features) -> f64 {
        JITTER * self.kernel((point, f), (point, f)).max(1e-9)
    }

    fn solve(&mut self) {
        let n = self.residuals.len();
        let mut x = self.residuals.clone();
        self.forward(&mut x);
        let squared: f64 = x.iter().map(|v| v * v).sum();
        // The effects' own maps say nothing about how far off the additive mean is: it was made
        // from them.
        let telling = n.saturating_sub(self.own) as f64;
        self.variance = (CONFIDENCE * self.unit * self.unit + squared) / (CONFIDENCE + telling);
        for i in (0..n).rev() {
            let row = i * (i + 1) / 2;
            x[i] /= self.factor[row + i];
            let xi = x[i];
            for (x, l) in x[..i].iter_mut().zip(&self.factor[row..row + i]) {
                *x -= l * xi;
            }
        }
        self.solved = x;
    }

    /// log p(residuals) with the scale at its likeliest, up to a constant.
    fn likelihood(&self) -> f64 {
        let n = self.residuals.len();
        let telling = n.saturating_sub(self.own) as f64 + CONFIDENCE;
        let determinant: f64 = (0..n)
            .map(|i| libm::log(self.factor[i * (i + 1) / 2 + i]))
            .sum();
        -0.5 * telling * libm::log(self.variance) - determinant
    }

    fn factorize(&mut self, weights: Weights) {
        self.weights = weights;
        self.factor.clear();
        let points = std::mem::take(&mut self.points);
        for point in points {
            self.points.push(point);
            self.extend();
        }
        self.solve();
    }

    /// Choose the parts' weights anew by likelihood.
    pub fn refit(&mut self) {
        let mut best = (f64::NEG_INFINITY, self.weights);
        for weights in PRIORS {
            self.factorize(weights);
            let likelihood = self.likelihood();
            if likelihood > best.0 {
                best = (likelihood, weights);
            }
        }
        self.factorize(best.1);
    }

    /// Learn a measured loss.
    pub fn add(&mut self, point: &[u8], loss: f64) {
        let f = self.features(point);
        self.residuals.push(loss - self.mean(&f));
        self.points.push((point.to_vec(), f));
        self.extend();
        self.solve();
    }

    /// Forget the last `count` losses.
    pub fn forget(&mut self, count: usize) {
        let n = self.points.len() - count;
        self.points.truncate(n);
        self.residuals.truncate(n);
        self.factor.truncate(n * (n + 1) / 2);
        self.solve();
    }

    /// Be told how many standard deviations a prediction was off: if they are off by more than they
    /// should be, later ones are less certain.
    pub fn surprise(&mut self, deviations: f64) {
        let bounded = deviations.clamp(-30.0, 30.0);
        self.surprises.0 += bounded * bounded;
        self.surprises.1 += 1.0;
    }

    /// Mean and standard deviation of a map's loss.
    pub fn predict(&self, point: &[u8]) -> (f64, f64) {
        let f = self.features(point);
        let mut row = self.row(point, &f);
        let mean: f64 = row.iter().zip(&self.solved).map(|(k, s)| k * s).sum();
        let own = self.kernel((point, &f), (point, &f));
        self.forward(&mut row);
        let left = own - row.iter().map(|v| v * v).sum::<f64>();
        let caution = ((1.0 + self.surprises.0) / (1.0 + self.surprises.1)).max(1.0);
        let deviation = (left.max(0.0) * self.variance * caution).sqrt();
        (self.mean(&f) + mean, deviation.max(1e-9))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effects() -> Vec<Vec<f64>> {
        (1..5)
            .map(|i| vec![0.0, 0.002 * f64::from(i), 0.05 * f64::from(i), 0.2])
            .collect()
    }

    fn points() -> Vec<Point> {
        (0..256u32)
            .map(|i| (0..4).map(|d| (i >> (2 * d) & 3) as u8).collect())
            .collect()
    }

    /// Damage that compounds: 2 + A + A²/2.
    fn loss(point: &[u8]) -> f64 {
        let total: f64 = effects()
            .iter()
            .zip(point)
            .map(|(e, m)| e[usize::from(*m)])
            .sum();
        2.0 + total + 0.5 * total * total
    }

    fn fitted(every: usize) -> Surrogate {
        let mut s = Surrogate::new(effects(), 2.0);
        for p in points().iter().step_by(every) {
            s.add(p, loss(p));
        }
        s.refit();
        s
    }

    #[test]
    fn measured_losses_are_returned_and_others_learnt() {
        let s = fitted(17);
        for (i, p) in points().iter().enumerate() {
            let (mean, deviation) = s.predict(p);
            let want = loss(p);
            if i % 17 == 0 {
                assert!((mean - want).abs() < 1e-4, "{p:?}: {mean} {want}");
                assert!(deviation < 1e-3);
            }
            // Additive prediction alone is off by up to 0.32.
            assert!((mean - want).abs() < 0.01, "{p:?}: {mean} {want}");
            assert!((mean - want).abs() < 5.0 * deviation + 1e-3);
        }
    }

    #[test]
    fn forgetting_undoes_learning() {
        let mut s = fitted(31);
        let before = s.predict(&[1, 2, 3, 0]);
        s.add(&[1, 2, 3, 1], 9.0);
        assert!((s.predict(&[1, 2, 3, 0]).0 - before.0).abs() > 1e-3);
        s.forget(1);
        let after = s.predict(&[1, 2, 3, 0]);
        assert!((after.0 - before.0).abs() < 1e-12 && (after.1 - before.1).abs() < 1e-12);
    }
}
