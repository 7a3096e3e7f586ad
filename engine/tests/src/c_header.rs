//! The header compiled and run, against the engine and against [`ternary::board`].

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::board::{cases, file, switches};
use ternary::backend::cpu::CpuBackend;
use ternary::board::{self, Cache, Model, State};
use ternary::config::{LayerMode, ModelConfig, QuantMode};
use ternary::format::MemorySource;
use ternary::format::Metadata;
use ternary::format::c_header::*;
use ternary::format::{Dense, OneBit, Packing, encode};
use ternary::infer;
use ternary::params;
use ternary::tokenizer::Tokenizer;

const STRICT: [&str; 5] = ["-O2", "-Wall", "-Wextra", "-Werror", "-pedantic"];

/// How programs are compiled: as C99, as C++, and with sanitizers.
pub(crate) fn compilers() -> [Vec<&'static str>; 3] {
    let with = |first: &[&'static str], last: &[&'static str]| [first, &STRICT, last].concat();
    [
        with(&["cc", "-std=c99"], &[]),
        with(&["c++", "-x", "c++"], &[]),
        with(
            &["cc", "-std=c99"],
            &[
                "-O0",
                "-fsanitize=address,undefined",
                "-fno-sanitize-recover=all",
            ],
        ),
    ]
}

/// Nothing can be tested where C cannot be compiled.
pub(crate) fn no_compiler() -> bool {
    let missing = ["cc", "c++"]
        .into_iter()
        .find(|name| Command::new(name).arg("--version").output().is_err());
    if let Some(name) = missing {
        eprintln!("SKIPPED: there is no `{name}` to compile the header with");
    }
    missing.is_some()
}

/// A program with all the models, which answers the driver's requests.
pub(crate) fn program(
    dir: &Path,
    compiler: &[&str],
    headers: &HashMap<String, String>,
) -> std::path::PathBuf {
    let mut main = String::new();
    let mut dispatch = String::new();
    for (name, text) in headers {
        std::fs::write(dir.join(format!("{name}.h")), text).unwrap();
        let upper = name.to_uppercase();
        let driver = concat!(env!("CARGO_MANIFEST_DIR"), "/c_header/driver.c");
        let _ = writeln!(
            main,
            "#include \"{name}.h\"\n#define PREFIX {name}_\n#define UPPER {upper}_\n#include \"{driver}\""
        );
        let _ = writeln!(
            dispatch,
            "        if (strcmp(r.model, \"{name}\") == 0) {{ if (strcmp(r.what, \"limits\") == 0) {name}_limits(); else {name}_answer(&r); }}"
        );
    }
    let _ = write!(
        main,
        "int main(void) {{\n    char line[1024];\n    request r;\n    while (fgets(line, sizeof line, stdin) != NULL && read_request(line, &r)) {{\n{dispatch}    }}\n    return 0;\n}}\n"
    );
    std::fs::write(dir.join("main.c"), main).unwrap();
    let out = dir.join("program");
    let built = Command::new(compiler[0])
        .args(&compiler[1..])
        .current_dir(dir)
        .args(["main.c", "-o", "program", "-lm"])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{compiler:?}:\n{errors}");
    out
}

/// A line of answer for each request.
pub(crate) fn ask(program: &Path, requests: &str) -> Vec<String> {
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(requests.as_bytes())
        .unwrap();
    let out = child.wait_with_output().unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&out.stdout).into_owned(),
        String::from_utf8_lossy(&out.stderr),
    );
    assert!(out.status.success(), "{stdout}\n{stderr}");
    stdout.lines().map(str::to_owned).collect()
}

/// The ids of an answer, and whether one of them is an end.
pub(crate) fn ids(answer: &str) -> Vec<u32> {
    let ids = answer.split(':').next().unwrap();
    ids.split_whitespace()
        .map(|id| id.trim_end_matches('!').parse().unwrap())
        .collect()
}

pub(crate) fn request(model: &str, what: &str, steps: usize, seed: u64, prompt: &[u32]) -> String {
    let ids: Vec<String> = prompt.iter().map(u32::to_string).collect();
    format!("{model} {what} {steps} {seed} {}\n", ids.join(" "))
}

/// The engine's greedy tokens. Prompts go in token by token: wider steps of its float products add
/// in another order.
fn engine_greedy(file: &[u8], prompt: &[u32], steps: usize) -> Vec<u32> {
    let source = MemorySource::new("test", file.to_vec());
    let opened = pollster::block_on(OneBit::open(&source)).unwrap();
    let backend = Box::new(CpuBackend::new(1));
    let mut model =
        pollster::block_on(infer::Model::load(backend, &opened, &source, &mut |_| {})).unwrap();
    let greedy = infer::Sampling {
        temperature: 0.0,
        ..infer::Sampling::default()
    };
    let mut ids = prompt.to_vec();
    let mut fed = 0;
    while ids.len() < prompt.len() + steps {
        let mut candidates = Vec::new();
        for id in &ids[fed..] {
            candidates = pollster::block_on(model.feed(&[*id], &[], 1.0)).unwrap();
        }
        fed = ids.len();
        ids.extend(infer::Sampler::new(&greedy).choose(candidates));
    }
    ids.split_off(prompt.len())
}

/// What [`ternary::board`] chooses: greedily, or with a seed at temperature 0.8.
fn board_tokens(
    file: &[u8],
    cache: Cache,
    prompt: &[u32],
    steps: usize,
    seed: Option<u64>,
) -> Vec<u32> {
    let model = Model::open(file).unwrap();
    let mut state = State::new(&model, model.config.max_seq_len, cache).unwrap();
    let mut sampler = board::Sampler::new(seed.unwrap_or_default());
    let mut ids = prompt.to_vec();
    for _ in 0..steps {
        let fed = state.used();
        let logits = state.feed(&model, &ids[fed..]).unwrap();
        ids.push(sampler.choose(logits, if seed.is_some() { 0.8 } else { 0.0 }));
    }
    ids.split_off(prompt.len())
}

pub(crate) fn options(stem: &str, context: Option<usize>, cache: Cache) -> COptions {
    COptions {
        stem: stem.to_owned(),
        context,
        cache,
        prompt: "Once upon a time".to_owned(),
    }
}

/// A model whose weights are all positive and whose activations are all alike: the largest sums
/// there are. One that overflowed would turn the residual stream, and with it the order of the
/// logits.
fn saturated(packing: Packing) -> Vec<u8> {
    let (_, config) = cases().pop().unwrap();
    let parameters = params::all(&config).into_iter().map(|p| {
        let cols = *p.shape.last().unwrap_or(&1);
        let value = |i: usize| match p.name == params::EMBEDDING {
            true => (i / cols + 1) as f32 * 0.01,
            false => 0.5,
        };
        let values = (0..p.len()).map(value).collect();
        (p.name.clone(), values)
    });
    let metadata = Metadata {
        config: config.clone(),
        ..Metadata::default()
    };
    encode(metadata, &parameters.collect(), packing, Dense::No).unwrap()
}

/// Every switch, mode and scale, both packings and both caches; all the headers in one program, as
/// C99, as C++ and with sanitizers watching.
#[test]
fn small_models_choose_the_engines_tokens() {
    if no_compiler() {
        return;
    }
    struct Wanted {
        name: String,
        description: String,
        greedy: Vec<u32>,
        sampled: Vec<u32>,
        sizes: Sizes,
    }
    const PROMPT: [u32; 3] = [5, 9, 3];
    const STEPS: usize = 12;
    let (mut headers, mut wanted) = (HashMap::new(), Vec::new());
    type Make = Box<dyn Fn(Packing) -> Vec<u8>>;
    let random = cases().into_iter().chain(switches()).map(|(case, config)| {
        let make: Make = Box::new(move |packing| file(&config, packing, 3));
        (case, make)
    });
    let all = random.chain([("saturated", Box::new(saturated) as Make)]);
    for (i, (case, make)) in all.enumerate() {
        for (packing, cache, context) in [
            (Packing::Ternary2, Cache::F32, None),
            (Packing::Base3, Cache::F16, Some(17)),
        ] {
            let bytes = make(packing);
            let name = format!("case{i}{cache:?}").to_lowercase();
            let header = write(&bytes, None, &options(&name, context, cache)).unwrap();
            headers.insert(name.clone(), header.text);
            let greedy = board_tokens(&bytes, cache, &PROMPT, STEPS, None);
            if cache == Cache::F32 {
                assert_eq!(greedy, engine_greedy(&bytes, &PROMPT, STEPS), "{case}");
            }
            wanted.push(Wanted {
                name,
                description: format!("{case}, {packing:?}, {cache:?}"),
                greedy,
                sampled: board_tokens(&bytes, cache, &PROMPT, STEPS, Some(7)),
                sizes: header.sizes,
            });
        }
    }
    // One more, with the rotation turned the wrong way: the comparison must be able to fail.
    let spoiled = headers["case0f32"].replace("a * c[j] - b * d[j]", "a * c[j] + b * d[j]");
    headers.insert(
        "spoiled".into(),
        spoiled
            .replace("case0f32", "spoiled")
            .replace("CASE0F32", "SPOILED"),
    );
    let requests = wanted.iter().fold(String::new(), |text, w| {
        text + &request(&w.name, "greedy", STEPS, 0, &PROMPT)
            + &request(&w.name, "sample", STEPS, 7, &PROMPT)
            + &format!("{} limits\n", w.name)
    }) + &request("spoiled", "greedy", STEPS, 0, &PROMPT);
    for compiler in compilers() {
        let dir = tempfile::TempDir::new().unwrap();
        let answers = ask(&program(dir.path(), &compiler, &headers), &requests);
        assert_eq!(answers.len(), 3 * wanted.len() + 1);
        for (w, answer) in wanted.iter().zip(answers.chunks(3)) {
            assert_eq!(ids(&answer[0]), w.greedy, "{}, {compiler:?}", w.description);
            assert_eq!(
                ids(&answer[1]),
                w.sampled,
                "{}, {compiler:?}",
                w.description
            );
            let Sizes {
                ram_bytes, context, ..
            } = w.sizes;
            assert_eq!(answer[2], format!("{ram_bytes} bytes, {context} tokens"));
        }
        assert_ne!(ids(&answers[3 * wanted.len()]), wanted[0].greedy);
    }
}

/// The model that ships with the page: five prompts, 64 tokens each, and their text.
#[test]
fn the_shipped_model_tells_the_engines_stories() {
    if no_compiler() {
        return;
    }
    const STEPS: usize = 64;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/models/stories.1bit");
    let bytes = std::fs::read(path).unwrap();
    let source = MemorySource::new("stories", bytes.clone());
    let opened = pollster::block_on(OneBit::open(&source)).unwrap();
    let tokenizer = Tokenizer::from_json(opened.metadata.tokenizer.as_deref().unwrap()).unwrap();
    let prompts: Vec<Vec<u32>> = [
        "Once upon a time",
        "One day, a little dog",
        "The queen said",
        "<|user|>Tell me a story about a kite.<|end|><|assistant|>",
        "Lily found a",
    ]
    .map(|text| tokenizer.encode(text).unwrap())
    .to_vec();
    let header = write(
        &bytes,
        Some(&tokenizer),
        &options("stories", Some(128), Cache::F32),
    )
    .unwrap();
    let headers = HashMap::from([("stories".to_owned(), header.text)]);
    let requests = prompts.iter().fold(String::new(), |text, prompt| {
        text + &request("stories", "greedy", STEPS, 0, prompt)
    });
    for compiler in &compilers()[..2] {
        let dir = tempfile::TempDir::new().unwrap();
        let answers = ask(&program(dir.path(), compiler, &headers), &requests);
        for (prompt, answer) in prompts.iter().zip(&answers) {
            let tokens = ids(answer);
            assert_eq!(tokens, engine_greedy(&bytes, prompt, STEPS), "{compiler:?}");
            assert_eq!(
                tokens,
                board_tokens(&bytes, Cache::F32, prompt, STEPS, None)
            );
            let text = tokenizer.decode(&tokens).unwrap();
            let hex: String = text.bytes().map(|b| format!("{b:02x}")).collect();
            let (marked, written) = answer.split_once(':').unwrap();
            assert_eq!(written, hex);
            let ends = tokens.iter().filter(|id| tokenizer.is_end(**id)).count();
            assert_eq!(marked.matches('!').count(), ends);
        }
    }
}

#[test]
fn what_c_cannot_hold_is_refused() {
    let (_, config) = cases().remove(0);
    let bytes = file(&config, Packing::Ternary2, 3);
    for context in [0, config.max_seq_len + 1] {
        let e = write(&bytes, None, &options("m", Some(context), Cache::F32)).unwrap_err();
        let words = [context, config.max_seq_len].map(|n| n.to_string());
        assert!(words.iter().all(|w| e.to_string().contains(w)), "{e}");
    }
    let foreign = Tokenizer::train(std::iter::once("the cat"), 261).unwrap();
    let e = write(&bytes, Some(&foreign), &options("m", None, Cache::F32)).unwrap_err();
    assert!(e.to_string().contains("another model"), "{e}");
    let e = write(&bytes[..100], None, &options("m", None, Cache::F32)).unwrap_err();
    assert!(e.to_string().contains("100"), "{e}");
    let mut map = config.bit_map();
    map.layer_modes[1] = LayerMode::Whole(QuantMode::F32);
    let single = ModelConfig {
        layer_bit_map: Some(map),
        ..config
    };
    let bytes = file(&single, Packing::Ternary2, 3);
    let e = write(&bytes, None, &options("m", None, Cache::F32)).unwrap_err();
    assert!(
        e.to_string().contains("layers.1.self_attn.q_proj") && e.to_string().contains("f32"),
        "{e}"
    );
}
