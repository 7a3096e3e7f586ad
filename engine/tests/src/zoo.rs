//! Tiny models of every decoder that can be imported (`fixtures/zoo.py` makes them): boards against
//! the engine, and both against transformers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::board::engine;
use crate::c_header::{ask, compilers, ids, no_compiler, options, program, request};
use ternary::board::{Cache, Model, State, greedy};
use ternary::config::QuantMode;
use ternary::format::c_header;
use ternary::format::{FileSource, MemorySink};
use ternary::import::{Input, Options, import};

/// Relative error (L2) of logits: f32 sums in another order.
const EXACT: f64 = 1e-5;
/// With keys and values in binary16, whose rounding is 2⁻¹¹ of a value.
const HALF_CACHE: f64 = 5e-3;
/// As many there are at least, so that none is forgotten.
const MODELS: usize = 25;

/// What transformers computes: tokens, logits after each, and the tokens it goes on with.
struct Expected {
    prompt: Vec<u32>,
    logits: Vec<f32>,
    greedy: Vec<u32>,
}

fn expected(path: &Path) -> Expected {
    let bytes = std::fs::read(path.join("expected.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let ids = |name: &str| {
        let data = file.tensor(name).unwrap().data().to_vec();
        let words = data.as_chunks::<8>().0.iter();
        words.map(|b| i64::from_le_bytes(*b) as u32).collect()
    };
    let logits = file.tensor("logits").unwrap().data().to_vec();
    let floats = logits.as_chunks::<4>().0.iter();
    Expected {
        prompt: ids("prompt"),
        logits: floats.map(|b| f32::from_le_bytes(*b)).collect(),
        greedy: ids("greedy"),
    }
}

/// The folder as a `.1bit`, its matrices in `mode`.
fn imported(path: &Path, mode: QuantMode) -> Vec<u8> {
    let mut input = Input::default();
    for name in ["config.json", "model.safetensors"] {
        input.add(name, Box::new(FileSource::open(&path.join(name)).unwrap()));
    }
    let options = Options {
        head: mode,
        body: Some(mode),
        ..Options::default()
    };
    let mut sink = MemorySink::default();
    pollster::block_on(import(&input, &options, &mut sink, &mut |_| {})).unwrap();
    sink.bytes
}

fn every_model(mut check: impl FnMut(&str, &Path)) {
    let zoo = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/zoo");
    let entries = std::fs::read_dir(zoo).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= MODELS);
    for path in paths {
        check(&path.file_name().unwrap().to_string_lossy(), &path);
    }
}

fn relative_error(found: &[f32], want: &[f32]) -> f64 {
    assert_eq!(found.len(), want.len());
    assert!(!want.is_empty() && found.iter().all(|v| v.is_finite()));
    let square = |v: f32| f64::from(v) * f64::from(v);
    let difference: f64 = found.iter().zip(want).map(|(a, b)| square(a - b)).sum();
    (difference / want.iter().map(|v| square(*v)).sum::<f64>()).sqrt()
}

/// Logits after each of `tokens`.
fn board_logits(model: &Model, cache: Cache, tokens: &[u32]) -> Vec<f32> {
    let mut state = State::new(model, tokens.len(), cache).unwrap();
    let one = |id: &u32| state.feed(model, &[*id]).unwrap().to_vec();
    tokens.iter().flat_map(one).collect()
}

#[test]
fn boards_give_the_logits_of_transformers() {
    every_model(|name, path| {
        let want = expected(path);
        let bytes = imported(path, QuantMode::F32);
        let model = Model::open(&bytes).unwrap();
        let error = |cache| {
            let found = board_logits(&model, cache, &want.prompt);
            relative_error(&found, &want.logits)
        };
        let (full, half) = (error(Cache::F32), error(Cache::F16));
        assert!(full <= EXACT, "{name}: relative error {full:.1e}");
        assert!(
            full < half && half <= HALF_CACHE,
            "{name}: relative error {half:.1e} with keys and values in binary16"
        );
        let mut state = State::new(&model, want.prompt.len() + 16, Cache::F32).unwrap();
        let mut next = greedy(state.feed(&model, &want.prompt).unwrap());
        for id in &want.greedy {
            assert_eq!(next, *id, "{name}");
            next = greedy(state.feed(&model, &[next]).unwrap());
        }
    });
}

/// Longer than the windows of the zoo, so that keys leave them.
#[test]
fn boards_compute_every_decoder_as_the_engine_does() {
    every_model(|name, path| {
        for mode in [QuantMode::F32, QuantMode::F16, QuantMode::EightBit] {
            let bytes = imported(path, mode);
            let model = Model::open(&bytes).unwrap();
            let tokens = model.config.max_seq_len.min(40);
            let mut state = State::new(&model, tokens, Cache::F32).unwrap();
            let mut engine = engine(&bytes);
            let mut id = 5;
            for _ in 0..tokens {
                let mut want = pollster::block_on(engine.feed(&[id], &[], 1.0)).unwrap();
                want.sort_by_key(|c| c.0);
                let got = state.feed(&model, &[id]).unwrap();
                for (g, w) in got.iter().zip(&want) {
                    assert_eq!(g.to_bits(), w.1.to_bits(), "{name}, {mode}, token {}", w.0);
                }
                id = greedy(got);
            }
        }
    });
}

/// F16 matrices, whose products C adds up as the engine does; the tokens may differ from those of
/// the model in single precision.
#[test]
fn c_headers_choose_the_tokens_of_boards() {
    if no_compiler() {
        return;
    }
    const STEPS: usize = 16;
    let (mut headers, mut requests, mut wanted) = (HashMap::new(), String::new(), Vec::new());
    every_model(|name, path| {
        let bytes = imported(path, QuantMode::F16);
        let prompt = expected(path).prompt;
        let stem = format!("z{}", name.replace('-', "_"));
        let context = Some(prompt.len() + STEPS);
        let options = options(&stem, context, Cache::F32);
        let header =
            c_header::write(&bytes, None, &options).unwrap_or_else(|e| panic!("{name}: {e}"));
        headers.insert(stem.clone(), header.text);
        requests += &request(&stem, "greedy", STEPS, 0, &prompt);
        let model = Model::open(&bytes).unwrap();
        let mut state = State::new(&model, prompt.len() + STEPS, Cache::F32).unwrap();
        let mut next = vec![greedy(state.feed(&model, &prompt).unwrap())];
        while next.len() < STEPS {
            let last = next[next.len() - 1];
            next.push(greedy(state.feed(&model, &[last]).unwrap()));
        }
        wanted.push((name.to_owned(), next));
    });
    let dir = tempfile::TempDir::new().unwrap();
    let answers = ask(&program(dir.path(), &compilers()[0], &headers), &requests);
    assert_eq!(answers.len(), wanted.len());
    for (answer, (name, tokens)) in answers.iter().zip(&wanted) {
        assert_eq!(ids(answer), *tokens, "{name}");
    }
}
