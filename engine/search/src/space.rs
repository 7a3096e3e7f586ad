//! What a search chooses: a mode for every unit (a layer, a matrix, an end of the model), and what
//! each choice takes in a file.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use ternary_core::config::{
    LayerBitMap, LayerMode, MatrixKind, MatrixModes, ModelConfig, QuantMode,
};
use ternary_core::layout::Metadata;
use ternary_core::params;
use ternary_formats::onebit::{self, Packing};

/// What gets a mode of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Granularity {
    /// One mode for a whole layer.
    Layer,
    /// One mode for each matrix of a layer.
    Matrix,
}

impl FromStr for Granularity {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "layer" => Ok(Granularity::Layer),
            "matrix" => Ok(Granularity::Matrix),
            other => Err(format!(
                "unknown granularity `{other}`; expected layer or matrix"
            )),
        }
    }
}

/// A part of the model that has one mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// The embedding; with it the head, where they are tied.
    Embedding,
    /// All matrices of the layer with this index.
    Layer(usize),
    /// One matrix of the layer with this index.
    Matrix(usize, MatrixKind),
    /// The head, where it is a matrix of its own.
    LmHead,
}

/// One candidate: for every unit the index of its mode in [`Choice::modes`], finest first.
pub type Point = Vec<u8>;

/// A unit with its modes, finest first, and the bytes each takes.
#[derive(Clone, Debug)]
pub struct Choice {
    /// What gets a mode.
    pub unit: Unit,
    /// The modes it may have, from the largest to the smallest.
    pub modes: Vec<QuantMode>,
    /// Bytes in the file in each of the modes.
    pub bytes: Vec<u64>,
}

/// Everything a search may choose.
#[derive(Clone, Debug)]
pub struct Space {
    config: ModelConfig,
    /// In the order of a point's entries.
    pub choices: Vec<Choice>,
    /// Bytes of a file that no choice changes.
    fixed: u64,
}

/// What to search over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpaceOptions {
    /// How finely modes are chosen.
    pub granularity: Granularity,
    /// The modes of the layers' matrices; repeated ones count once.
    pub modes: Vec<QuantMode>,
    /// Let the embedding and the head be 8-bit; F16 otherwise.
    pub unpin: bool,
}

impl Space {
    /// `metadata`: of the file to be written, whose config is the model's.
    ///
    /// # Errors
    /// No mode, or a head that the format cannot hold.
    pub fn new(metadata: &Metadata, options: &SpaceOptions) -> Result<Self> {
        let config = metadata.config.clone();
        let mut modes = options.modes.clone();
        modes.sort_unstable();
        modes.dedup();
        if modes.is_empty() {
            return Err(Error::NoModes);
        }
        let mut units = Vec::new();
        let ends = [QuantMode::F16, QuantMode::EightBit];
        if options.unpin {
            units.push((Unit::Embedding, ends.to_vec()));
        }
        for layer in 0..config.num_layers {
            match options.granularity {
                Granularity::Layer => units.push((Unit::Layer(layer), modes.clone())),
                Granularity::Matrix => units.extend(
                    config
                        .matrices()
                        .map(|kind| (Unit::Matrix(layer, kind), modes.clone())),
                ),
            }
        }
        if options.unpin && !config.tie_word_embeddings {
            units.push((Unit::LmHead, ends.to_vec()));
        }
        let mut space = Space {
            choices: Vec::new(),
            fixed: 0,
            config,
        };
        for (unit, modes) in units {
            let bytes = modes.iter().map(|mode| space.unit_bytes(unit, *mode));
            let bytes = bytes.collect();
            space.choices.push(Choice { unit, modes, bytes });
        }
        // The fixed part is measured at the map whose names are the longest: a file is never larger
        // than its size here.
        let longest = space.longest_map();
        let whole = onebit::encoded_len(
            &Metadata {
                config: ModelConfig {
                    layer_bit_map: Some(longest.clone()),
                    ..space.config.clone()
                },
                ..metadata.clone()
            },
            Packing::Ternary2,
        )?;
        let choices = space.choices.iter();
        let chosen: u64 = choices
            .map(|c| match c.unit {
                Unit::Layer(layer) => space.layer_bytes(layer, &longest.layer_modes[layer]),
                unit => space.unit_bytes(unit, QuantMode::EightBit),
            })
            .sum();
        space.fixed = whole - chosen;
        Ok(space)
    }

    /// 8-bit everywhere it is allowed, every matrix named.
    fn longest_map(&self) -> LayerBitMap {
        let mode = QuantMode::EightBit;
        let layer = LayerMode::PerMatrix(MatrixModes::all(mode));
        LayerBitMap {
            layer_modes: vec![layer; self.config.num_layers],
            embedding: self.end_mode(Unit::Embedding, mode),
            lm_head: self.end_mode(Unit::LmHead, mode),
        }
    }

    fn end_mode(&self, end: Unit, mode: QuantMode) -> QuantMode {
        let tied = self.config.tie_word_embeddings;
        let free = self
            .choices
            .iter()
            .any(|c| c.unit == end || (tied && c.unit == Unit::Embedding));
        if free { mode } else { QuantMode::F16 }
    }

    fn layer_bytes(&self, layer: usize, modes: &LayerMode) -> u64 {
        let kinds = self.config.matrices();
        kinds
            .map(|kind| self.unit_bytes(Unit::Matrix(layer, kind), modes.get(kind)))
            .sum()
    }

    fn unit_bytes(&self, unit: Unit, mode: QuantMode) -> u64 {
        let mut map = LayerBitMap::sandwich(self.config.num_layers, mode);
        (map.embedding, map.lm_head) = (mode, mode);
        let config = ModelConfig {
            layer_bit_map: Some(map),
            ..self.config.clone()
        };
        let matrix = match unit {
            Unit::Layer(layer) => return self.layer_bytes(layer, &LayerMode::Whole(mode)),
            Unit::Matrix(layer, kind) => params::layer_matrix(&config, layer, kind),
            Unit::Embedding => params::embedding(&config),
            Unit::LmHead => params::lm_head(&config),
        };
        onebit::stored_bytes(&matrix, Packing::Ternary2)
    }

    /// Bytes of the `.1bit` file in this map, at most: names of modes vary by a few bytes.
    pub fn bytes(&self, point: &[u8]) -> u64 {
        let chosen = self.choices.iter().zip(point);
        self.fixed
            + chosen
                .map(|(choice, mode)| choice.bytes[usize::from(*mode)])
                .sum::<u64>()
    }

    /// Number of maps; saturates.
    pub fn count(&self) -> u64 {
        let choices = self.choices.iter();
        choices.fold(1, |n: u64, c| n.saturating_mul(c.modes.len() as u64))
    }

    /// Every point, the last unit changing fastest; only sensible where [`Space::count`] is small.
    pub fn all(&self) -> Vec<Point> {
        let mut points = vec![Point::new()];
        for choice in &self.choices {
            points = points
                .into_iter()
                .flat_map(|p| {
                    (0..choice.modes.len()).map(move |m| {
                        let mut longer = p.clone();
                        longer.push(m as u8);
                        longer
                    })
                })
                .collect();
        }
        points
    }

    /// Every unit in its finest mode.
    pub fn finest(&self) -> Point {
        vec![0; self.choices.len()]
    }

    /// The bit-map of a point.
    pub fn map(&self, point: &[u8]) -> LayerBitMap {
        let mut map = LayerBitMap::sandwich(self.config.num_layers, QuantMode::F16);
        let mut matrices = vec![MatrixModes::all(QuantMode::F16); self.config.num_layers];
        for (choice, index) in self.choices.iter().zip(point) {
            let mode = choice.modes[usize::from(*index)];
            match choice.unit {
                Unit::Embedding => {
                    map.embedding = mode;
                    if self.config.tie_word_embeddings {
                        map.lm_head = mode;
                    }
                }
                Unit::LmHead => map.lm_head = mode,
                Unit::Layer(layer) => matrices[layer] = MatrixModes::all(mode),
                Unit::Matrix(layer, kind) => matrices[layer].set(kind, mode),
            }
        }
        for (layer, mut modes) in matrices.into_iter().enumerate() {
            if !self.config.use_swiglu {
                modes.gate = modes.up;
            }
            map.layer_modes[layer] = modes.into();
        }
        map
    }

    /// The point that stands for `map`; none if a mode of it is not in the space.
    pub fn point(&self, map: &LayerBitMap) -> Option<Point> {
        let choices = self.choices.iter();
        choices
            .map(|choice| {
                let mode = match choice.unit {
                    Unit::Embedding => map.embedding,
                    Unit::LmHead => map.lm_head,
                    Unit::Layer(layer) => match map.layer_modes.get(layer)? {
                        LayerMode::Whole(mode) => *mode,
                        LayerMode::PerMatrix(_) => return None,
                    },
                    Unit::Matrix(layer, kind) => map.layer_modes.get(layer)?.get(kind),
                };
                let index = choice.modes.iter().position(|m| *m == mode)?;
                u8::try_from(index).ok()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ternary_core::params::all;
    use ternary_formats::onebit::{Dense, encode};

    fn metadata(tied: bool) -> Metadata {
        Metadata {
            config: ModelConfig {
                vocab_size: 300,
                hidden_size: 32,
                num_heads: 2,
                num_layers: 3,
                intermediate_size: 72,
                max_seq_len: 8,
                use_swiglu: true,
                tie_word_embeddings: tied,
                ..ModelConfig::default()
            },
            tokenizer: Some("a \"tokenizer\"".repeat(30)),
            ..Metadata::default()
        }
    }

    /// Sizes are those of real files, never below and hardly above.
    #[test]
    fn sizes_are_those_of_written_files() {
        let options = |granularity, unpin| SpaceOptions {
            granularity,
            modes: QuantMode::CHOICES.to_vec(),
            unpin,
        };
        for tied in [true, false] {
            for granularity in [Granularity::Layer, Granularity::Matrix] {
                for unpin in [true, false] {
                    let metadata = metadata(tied);
                    let space = Space::new(&metadata, &options(granularity, unpin)).unwrap();
                    for shift in 0..4 {
                        let point: Point = space
                            .choices
                            .iter()
                            .enumerate()
                            .map(|(i, c)| ((i * 3 + shift) % c.modes.len()) as u8)
                            .collect();
                        let map = space.map(&point);
                        assert_eq!(space.point(&map), Some(point.clone()));
                        let config = ModelConfig {
                            layer_bit_map: Some(map),
                            ..metadata.config.clone()
                        };
                        let parameters = all(&config)
                            .into_iter()
                            .map(|p| (p.name.clone(), p.init(&config, 1)))
                            .collect();
                        let metadata = Metadata {
                            config,
                            ..metadata.clone()
                        };
                        let file =
                            encode(metadata, &parameters, Packing::Ternary2, Dense::No).unwrap();
                        let (found, said) = (file.len() as u64, space.bytes(&point));
                        assert!(found <= said && said - found < 2048, "{found} {said}");
                    }
                }
            }
        }
    }

    #[test]
    fn all_points_are_distinct_and_counted() {
        let options = SpaceOptions {
            granularity: Granularity::Layer,
            modes: vec![QuantMode::Binary, QuantMode::F16, QuantMode::Ternary],
            unpin: true,
        };
        let space = Space::new(&metadata(true), &options).unwrap();
        let mut all = space.all();
        assert_eq!(all.len() as u64, space.count());
        assert_eq!(space.count(), 2 * 27);
        all.sort();
        all.dedup();
        assert_eq!(all.len() as u64, space.count());
        let none = SpaceOptions {
            modes: Vec::new(),
            ..options
        };
        assert!(Space::new(&metadata(true), &none).is_err());
    }
}
