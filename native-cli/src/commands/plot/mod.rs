//! `onebit plot`: runs' metrics as a picture.

mod axis;
mod chart;
mod png;
mod series;
mod shape;
mod svg;

use anyhow::{Context, Result, bail, ensure};

use self::chart::{Chart, Drawn, Style};
use self::series::Curve;
pub use self::series::Run;
use crate::args::{Along, Metric, Plot};
use crate::output::errln;

pub fn run(a: &Plot) -> Result<()> {
    let extension = a
        .output
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default();
    ensure!(
        matches!(extension, "svg" | "png"),
        "{}: the picture's name must end in .svg or .png",
        a.output.display()
    );
    ensure!(
        (0.0..=0.999).contains(&a.smooth),
        "--smooth {}: expected a share between 0 and 0.999",
        a.smooth
    );
    let runs: Vec<Run> = a.runs.iter().map(|r| Run::read(r)).collect::<Result<_>>()?;
    let mut curves = Vec::new();
    let mut add = |run: usize, style: Style, curve: Curve| {
        if !curve.points.is_empty() {
            curves.push(Drawn { run, style, curve });
        }
    };
    let mut both = (false, false);
    for (i, run) in runs.iter().enumerate() {
        let curve = run.curve(a.metric, a.x)?;
        both.0 |= !curve.points.is_empty();
        // Validations are means over the same text each time: they need no smoothing.
        if a.smooth > 0.0 && a.metric != Metric::ValLoss {
            add(i, Style::Line, curve.smoothed(a.smooth));
            add(i, Style::Faint, curve);
        } else if a.metric == Metric::ValLoss {
            add(i, Style::Dotted, curve);
        } else {
            add(i, Style::Line, curve);
        }
        if a.metric == Metric::Loss {
            let validation = run.curve(Metric::ValLoss, a.x)?;
            both.1 |= !validation.points.is_empty();
            add(i, Style::Dotted, validation);
        }
    }
    let chart = Chart {
        runs: names(&a.runs, &runs),
        curves,
        x_title: match a.x {
            Along::Step => "step",
            Along::Tokens => "training tokens",
            Along::Time => "seconds of training",
        },
        y_title: match a.metric {
            Metric::Loss => "loss (nats per token)",
            Metric::TrainLoss => "training loss (nats per token)",
            Metric::ValLoss => "validation loss (nats per token)",
            Metric::GradNorm => "gradient norm before clipping",
            Metric::LearningRate => "learning rate",
            Metric::TokensPerSecond => "tokens per second",
        },
        styles: (both == (true, true)).then_some(("training", "validation")),
        log: (a.log_x, a.log_y),
    };
    let Some(picture) = chart.draw(&png::font()?) else {
        bail!("nothing to draw: no run has a finite value of this metric that the axes can show");
    };
    let bytes = if extension == "svg" {
        svg::draw(&picture).into_bytes()
    } else {
        png::draw(&picture)?
    };
    std::fs::write(&a.output, bytes)
        .with_context(|| format!("cannot write {}", a.output.display()))?;
    errln!("wrote {}", a.output.display());
    Ok(())
}

/// A picture of runs' validation losses along their steps.
pub fn of_validation(runs: Vec<std::path::PathBuf>, output: std::path::PathBuf) -> Plot {
    Plot {
        metric: Metric::ValLoss,
        ..of_losses(runs, output)
    }
}

/// A picture of runs' losses along their steps.
pub fn of_losses(runs: Vec<std::path::PathBuf>, output: std::path::PathBuf) -> Plot {
    Plot {
        runs,
        output,
        metric: Metric::Loss,
        x: Along::Step,
        smooth: 0.0,
        log_x: false,
        log_y: false,
    }
}

/// Runs' names; those that share a folder name are told apart by their paths.
fn names(paths: &[std::path::PathBuf], runs: &[Run]) -> Vec<String> {
    let alone = |name: &str| runs.iter().filter(|r| r.name == name).count() < 2;
    let named = runs.iter().zip(paths).map(|(r, path)| {
        if alone(&r.name) {
            r.name.clone()
        } else {
            path.display().to_string()
        }
    });
    named.collect()
}
