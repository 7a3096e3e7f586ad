//! Curves out of `metrics.jsonl`.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::args::{Along, Metric};

/// Most points of a curve in a picture about a thousand wide.
const POINTS: usize = 2000;

/// The lines of a run's metrics, and the run's name.
pub struct Run {
    pub name: String,
    lines: Vec<Value>,
}

/// One curve.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    pub points: Vec<(f64, f64)>,
}

impl Run {
    /// A run's folder, or its `metrics.jsonl`.
    pub fn read(path: &Path) -> Result<Self> {
        let file = if path.is_dir() {
            path.join("metrics.jsonl")
        } else {
            path.to_owned()
        };
        let bytes = std::fs::read(&file).with_context(|| {
            format!(
                "cannot read {}; give the --output-dir of `onebit train`",
                file.display()
            )
        })?;
        let text = String::from_utf8_lossy(&bytes);
        let count = text.lines().count();
        let mut lines = Vec::new();
        for (i, line) in text.lines().enumerate() {
            match serde_json::from_str::<Value>(line) {
                Ok(value) if value["step"].is_u64() => lines.push(value),
                // A crash may have cut the last line short.
                _ if i + 1 == count => {}
                Ok(_) => bail!(
                    "{}, line {}: no `step`; is it a metrics.jsonl?",
                    file.display(),
                    i + 1
                ),
                Err(e) => bail!(
                    "{}, line {}: {e}; is it a metrics.jsonl?",
                    file.display(),
                    i + 1
                ),
            }
        }
        ensure!(
            !lines.is_empty(),
            "{} has no complete line yet; train some more steps (--log-every says how often one is written)",
            file.display()
        );
        let folder = file.parent().map(Path::canonicalize);
        let name = folder
            .and_then(Result::ok)
            .and_then(|f| Some(f.file_name()?.to_string_lossy().into_owned()));
        Ok(Run {
            name: name.unwrap_or_else(|| path.display().to_string()),
            lines,
        })
    }

    /// A metric (not `Loss`, which is two) along the run; points without it, or that are not
    /// finite, are left out.
    pub fn curve(&self, metric: Metric, along: Along) -> Result<Curve> {
        let y = match metric {
            Metric::Loss | Metric::TrainLoss => "train_loss",
            Metric::ValLoss => "val_loss",
            Metric::GradNorm => "grad_norm",
            Metric::LearningRate => "learning_rate",
            Metric::TokensPerSecond => "tokens_per_second",
        };
        let x = match along {
            Along::Step => "step",
            Along::Tokens => "tokens",
            Along::Time => "seconds",
        };
        ensure!(
            self.lines.iter().any(|l| l[x].is_number()),
            "{}: its metrics have no `{x}`, as those of earlier versions; use --x step",
            self.name
        );
        let points = self
            .lines
            .iter()
            .filter_map(|l| Some((l[x].as_f64()?, l[y].as_f64()?)));
        Ok(Curve {
            points: points.collect(),
        })
    }
}

impl Curve {
    /// Exponential mean, without the bias of its beginning (as in Adam).
    pub fn smoothed(&self, share: f64) -> Curve {
        let (mut mean, mut weight) = (0.0, 0.0);
        let points = self.points.iter().map(|(x, y)| {
            mean = share * mean + (1.0 - share) * y;
            weight = share * weight + (1.0 - share);
            (*x, mean / weight)
        });
        Curve {
            points: points.collect(),
        }
    }

    /// The lowest and the highest point of each stretch, where there are more points than can be
    /// seen.
    pub fn thinned(&self) -> Curve {
        if self.points.len() <= POINTS {
            return self.clone();
        }
        let stretch = self.points.len().div_ceil(POINTS / 2);
        let mut points = Vec::new();
        for part in self.points.chunks(stretch) {
            let by = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
            if let (Some(low), Some(high)) = (part.iter().min_by(by), part.iter().max_by(by)) {
                points.extend(if low.0 <= high.0 {
                    [*low, *high]
                } else {
                    [*high, *low]
                });
            }
        }
        Curve { points }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_begins_without_bias_and_thinning_keeps_extremes() {
        let curve = Curve {
            points: (0..10_000)
                .map(|i| (f64::from(i), if i == 5000 { 9.0 } else { 3.0 }))
                .collect(),
        };
        let smooth = curve.smoothed(0.9);
        assert!(
            (smooth.points[0].1 - 3.0).abs() < 1e-12 && (smooth.points[5000].1 - 3.6).abs() < 1e-9
        );
        let thin = curve.thinned();
        assert!(thin.points.len() <= POINTS && thin.points.contains(&(5000.0, 9.0)));
    }
}
