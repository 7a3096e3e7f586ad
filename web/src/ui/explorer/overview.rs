//! What the map is colored by.

use leptos::prelude::*;
use ternary::config::{LayerBitMap, QuantMode};
use ternary::session::{MatrixDiff, MatrixFigures};

use super::cells::Cell;
use super::state::{Explorer, use_explorer};
use crate::ui::widgets::erased::live;
use crate::ui::widgets::figures;
use crate::ui::widgets::scale::range;
use crate::ui::widgets::segmented::{Choice, Segmented};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overview {
    Precision,
    Bytes,
    Zeros,
    Scale,
    Error,
    Flips,
}

impl Overview {
    /// It is told by [`MatrixFigures`].
    pub fn needs_figures(self) -> bool {
        matches!(self, Overview::Zeros | Overview::Scale | Overview::Error)
    }

    /// Of a matrix; nothing while it is not known.
    pub fn value(
        self,
        bytes: u64,
        figures: Option<&MatrixFigures>,
        change: Option<&MatrixDiff>,
    ) -> Option<f64> {
        match self {
            Overview::Precision => None,
            Overview::Bytes => Some(bytes as f64),
            Overview::Zeros => figures.map(|figures| figures.zeros),
            Overview::Scale => figures.map(|figures| figures.scale),
            Overview::Error => figures.map(|figures| figures.error.unwrap_or(0.0)),
            Overview::Flips => change.map(changed_share),
        }
    }

    /// As a cell shows it.
    pub fn short(self, value: f64) -> String {
        match self {
            Overview::Bytes if value < 999_500.0 => format!("{:.0}k", value / 1e3),
            Overview::Bytes if value < 99.95e6 => format!("{:.1}M", value / 1e6),
            Overview::Bytes => format!("{:.0}M", value / 1e6),
            Overview::Scale if value < 0.0095 => format!("{value:.0e}"),
            Overview::Scale => format!("{value:.2}"),
            Overview::Precision | Overview::Zeros | Overview::Error | Overview::Flips => {
                let percent = value * 100.0;
                format!(
                    "{percent:.*}%",
                    usize::from(percent > 0.0 && percent < 9.95)
                )
            }
        }
    }

    /// For people to read.
    fn long(self, value: f64) -> String {
        match self {
            Overview::Bytes => figures::bytes(value as u64),
            Overview::Scale => format!("{value:.4}"),
            Overview::Precision | Overview::Zeros | Overview::Error | Overview::Flips => {
                format!("{:.2} %", value * 100.0)
            }
        }
    }

    /// How strong the color is, from 0 to 1.
    pub fn heat(self, value: f64, (low, high): (f64, f64)) -> f64 {
        let (value, low, high) = match self {
            // They reach over powers of ten.
            Overview::Bytes | Overview::Scale => {
                let log = |value: f64| value.max(1e-9).ln();
                (log(value), log(low), log(high))
            }
            Overview::Error | Overview::Flips => (value, 0.0, high),
            Overview::Precision | Overview::Zeros => (value, low, high),
        };
        match high > low {
            true => ((value - low) / (high - low)).clamp(0.0, 1.0),
            false => 0.0,
        }
    }

    fn sentence(self, compared: Option<&str>) -> String {
        match (self, compared) {
            (Overview::Precision, _) => {
                "Each cell is one matrix; its number is the bits a weight takes.".to_owned()
            }
            (Overview::Bytes, _) => {
                "What each matrix takes in the file: the darker, the more.".to_owned()
            }
            (Overview::Zeros, _) => "How many of its weights are 0.".to_owned(),
            (Overview::Scale, _) => {
                "How large the weights that are not 0 are, on average.".to_owned()
            }
            (Overview::Error, Some(name)) => {
                format!("How far the weights are from those of {name}, as a share of their size.")
            }
            (Overview::Error, None) => {
                "How far the chosen precision takes the weights from those of the loaded file, as \
                 a share of their size. Compare with a float model to see it against that."
                    .to_owned()
            }
            (Overview::Flips, name) => format!(
                "How many weights {} has other.",
                name.unwrap_or("the file beside")
            ),
        }
    }
}

pub fn changed_share(change: &MatrixDiff) -> f64 {
    match change.changed {
        Some(count) => count as f64 / change.weights.max(1) as f64,
        None => 1.0,
    }
}

/// Bits a weight takes, as a cell shows it.
pub fn bits(mode: QuantMode) -> &'static str {
    match mode {
        QuantMode::F32 => "32",
        QuantMode::F16 => "16",
        QuantMode::EightBit => "8",
        QuantMode::Ternary => "1.58",
        QuantMode::Binary => "1",
    }
}

#[component]
pub fn OverviewChoice() -> impl IntoView {
    let e = use_explorer();
    let compared = move || e.compared.with(Option::is_some);
    let choices = move || {
        [
            Choice::new(Overview::Precision, "precision", "Precision"),
            Choice::new(Overview::Bytes, "bytes", "Bytes"),
            Choice::new(Overview::Zeros, "zeros", "Zeros"),
            Choice::new(Overview::Scale, "scale", "Scale"),
            Choice::new(Overview::Error, "error", "Error"),
            Choice::new(Overview::Flips, "flips", "Flips").enabled_if(compared()),
        ]
    };
    view! {
        <Segmented
            legend="What the map is colored by"
            name="overview"
            choices=choices
            selected=e.overview
            on_select=move |overview| e.overview.set(overview)
        />
    }
}

/// What the colors of the map mean.
#[component]
pub fn Legend(cells: Signal<Vec<Cell>>) -> impl IntoView {
    let e = use_explorer();
    let key = move || match e.overview.get() {
        Overview::Precision => e.map.with(|map| {
            map.as_ref()
                .map(|map| precisions(map, &cells.get()).into_any())
        }),
        overview => e.extent(overview, &cells.get()).map(|(low, high)| {
            let low = match overview {
                Overview::Error | Overview::Flips => 0.0,
                _ => low,
            };
            view! {
                <p class="ramp">
                    <span>{overview.long(low)}</span>
                    <span class="ramp-colors" aria-hidden="true"></span>
                    <span>{overview.long(high)}</span>
                </p>
            }
            .into_any()
        }),
    };
    let sentence = move || {
        let name = e
            .compared
            .with(|compared| compared.as_ref().map(|(name, _)| name.clone()));
        e.overview.get().sentence(name.as_deref())
    };
    view! {
        <div class="legend" id="legend">
            {live(move || key().into_any())}
            <p class="hint">{sentence}</p>
        </div>
    }
}

fn precisions(map: &LayerBitMap, cells: &[Cell]) -> impl IntoView + use<> {
    let used = |mode: &QuantMode| cells.iter().any(|cell| cell.mode(map) == *mode);
    let keys = QuantMode::ALL.into_iter().filter(used).map(|mode| {
        view! {
            <li>
                <span class=format!("swatch {}", mode.name()) aria-hidden="true"></span>
                {figures::quant_mode(mode)}
            </li>
        }
    });
    view! { <ul>{keys.collect_view()}</ul> }
}

impl Explorer {
    /// The least value and the greatest of what the map is colored by.
    pub fn extent(self, overview: Overview, cells: &[Cell]) -> Option<(f64, f64)> {
        let values = cells.iter().filter_map(|cell| self.value(overview, *cell));
        Some(range(values)).filter(|(low, high)| low <= high)
    }

    /// Of a matrix.
    pub fn value(self, overview: Overview, cell: Cell) -> Option<f64> {
        let name = cell.parameter();
        let bytes = self.sizes.with(|sizes| sizes.get(&name).copied())?;
        self.figures.with(|figures| {
            self.compared.with(|compared| {
                let changes = compared.as_ref().map(|(_, changes)| changes);
                let change = changes.and_then(|all| all.iter().find(|change| change.name == name));
                overview.value(bytes, figures.get(&name), change)
            })
        })
    }
}
