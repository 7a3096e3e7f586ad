//! Published layouts against what other programs compute from them, damage, and conventions got
//! wrong on purpose.

mod zoo;

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::gguf::container as gguf;
use crate::hf::read as hf;
use crate::onebit::Packing;
use crate::safetensors::head as safetensors;
use crate::source::checkpoint::Scaling;
use crate::source::storage::Storage;
use ternary_backend::Backend;
use ternary_backend::cpu::CpuBackend;
use ternary_common::bytes::{MemorySink, MemorySource};
use ternary_core::config::LayerBitMap;
// What the model that is run reads: this crate once more, as others see it.
use crate::safetensors::Tensors;
use ternary_common::bytes::FileSource;
use ternary_formats::onebit::OneBit;
use ternary_infer::Model;

/// Relative error (L2) of logits.
const TOLERANCE: f64 = 2e-3;
/// A wrong convention is this much worse at least.
const WRONG: f64 = 0.1;

/// A model's folder: of the tests, or beside the project (`ONEBIT_SHARED`, by default `../shared`).
fn fixture(name: &str) -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let own = here.join("../tests/fixtures/hf").join(name);
    let shared = std::env::var_os("ONEBIT_SHARED")
        .map_or_else(|| here.join("../../../shared"), PathBuf::from)
        .join("fixtures/hf")
        .join(name);
    [own, shared]
        .into_iter()
        .find(|path| path.join("config.json").exists())
}

fn folder(path: &Path) -> Input {
    let mut input = Input::default();
    for entry in std::fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name != "expected.safetensors" {
            input.add(&name, Box::new(FileSource::open(&path).unwrap()));
        }
    }
    input
}

fn imported(input: &Input, options: &Options) -> Result<(Vec<u8>, Report), ImportError> {
    let mut sink = MemorySink::default();
    let report = pollster::block_on(import(input, options, &mut sink, &mut |_| {}))?;
    assert_eq!(report.bytes, sink.bytes.len() as u64);
    Ok((sink.bytes, report))
}

/// As [`imported`], with the checkpoint changed in between.
fn imported_wrongly(input: &Input, spoil: impl Fn(&mut Checkpoint)) -> Vec<u8> {
    let mut sink = MemorySink::default();
    pollster::block_on(async {
        let mut checkpoint = hf::open(input, &[]).await.unwrap();
        spoil(&mut checkpoint);
        let plan = plan::plan(&checkpoint, &Options::default(), true)
            .await
            .unwrap();
        let metadata = Metadata {
            config: plan.config.clone(),
            ..Default::default()
        };
        let mut writer = Writer::new(&mut sink, metadata, Packing::Ternary2).unwrap();
        convert::convert(&checkpoint, &plan, &mut writer, &mut |_| {})
            .await
            .unwrap();
        writer.finish().await.unwrap();
    });
    sink.bytes
}

fn load(bytes: Vec<u8>, backend: Box<dyn Backend>) -> Model {
    let source = MemorySource::new("imported", bytes);
    pollster::block_on(async {
        let file = OneBit::open(&source).await.unwrap();
        Model::load(backend, &file, &source, &mut |_| {})
            .await
            .unwrap()
    })
}

fn cpu() -> Box<dyn Backend> {
    Box::new(CpuBackend::new(1))
}

/// What transformers computes: tokens, logits after each, and the tokens it goes on with.
struct Expected {
    prompt: Vec<u32>,
    logits: Vec<f32>,
    greedy: Vec<u32>,
}

/// For the model as it is.
fn expected(path: &Path) -> Expected {
    read_expected(&path.join("expected.safetensors"))
}

/// For the model with its float matrices in F16.
fn expected_f16(name: &str) -> Expected {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/hf");
    read_expected(&here.join(name).join("expected_f16.safetensors"))
}

fn read_expected(path: &Path) -> Expected {
    let bytes = std::fs::read(path).unwrap();
    let file = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let ids = |name: &str| {
        let data = file.tensor(name).unwrap().data().to_vec();
        let words = data.as_chunks::<8>().0.iter();
        words.map(|b| i64::from_le_bytes(*b) as u32).collect()
    };
    let logits = file.tensor("logits").unwrap().data().to_vec();
    Expected {
        prompt: ids("prompt"),
        logits: logits
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect(),
        greedy: ids("greedy"),
    }
}

fn logits(model: &mut Model, prompt: &[u32]) -> Vec<f32> {
    let mut all = Vec::new();
    pollster::block_on(model.logits(prompt, &mut |rows| all.extend_from_slice(rows))).unwrap();
    all
}

fn relative_error(found: &[f32], want: &[f32]) -> f64 {
    assert_eq!(found.len(), want.len());
    assert!(!want.is_empty() && found.iter().all(|v| v.is_finite()));
    let square = |v: f32| f64::from(v) * f64::from(v);
    let difference: f64 = found.iter().zip(want).map(|(a, b)| square(a - b)).sum();
    (difference / want.iter().map(|v| square(*v)).sum::<f64>()).sqrt()
}

fn greedy(model: &mut Model, prompt: &[u32], n: usize) -> Vec<u32> {
    model.truncate(0);
    let mut next = prompt.to_vec();
    let mut out = Vec::new();
    for _ in 0..n {
        let candidates = pollster::block_on(model.feed(&next, &[], 1.0)).unwrap();
        let best = candidates
            .iter()
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .unwrap();
        out.push(best.0);
        next = vec![best.0];
    }
    out
}

/// Floats as they are in the checkpoint.
fn exact() -> Options {
    Options {
        head: QuantMode::F32,
        body: Some(QuantMode::F32),
        ..Options::default()
    }
}

/// Floats as F16.
fn halves() -> Options {
    Options {
        body: Some(QuantMode::F16),
        ..Options::default()
    }
}

fn agrees(name: &str, bytes: Vec<u8>, want: &Expected, backend: Box<dyn Backend>) {
    let mut model = load(bytes, backend);
    let found = logits(&mut model, &want.prompt);
    let error = relative_error(&found, &want.logits);
    assert!(error <= TOLERANCE, "{name}: relative error {error}");
    let found = greedy(&mut model, &want.prompt, want.greedy.len());
    assert_eq!(found, want.greedy, "{name}");
}

const FIXTURES: [&str; 4] = [
    "bitnet-packed",
    "llama-packed-inverse-scale",
    "bitnet-masters-bf16",
    "llama-float",
];

#[allow(clippy::print_stderr, reason = "tests say what they leave out")]
fn every_fixture(mut check: impl FnMut(&str, &Path)) {
    for name in FIXTURES {
        match fixture(name) {
            Some(path) => check(name, &path),
            None => eprintln!("{name} is left out: it is not in ONEBIT_SHARED"),
        }
    }
}

#[test]
fn published_layouts_give_the_logits_of_transformers() {
    every_fixture(|name, path| {
        let (bytes, _) = imported(&folder(path), &exact()).unwrap();
        agrees(name, bytes, &expected(path), cpu());
        let (bytes, report) = imported(&folder(path), &halves()).unwrap();
        let ternary = name != "llama-float";
        let map = report.config.bit_map();
        let body = if ternary {
            QuantMode::Ternary
        } else {
            QuantMode::F16
        };
        assert_eq!(
            map,
            LayerBitMap::sandwich(report.config.num_layers, body),
            "{name}"
        );
        assert_eq!(report.config.activation_bits, ternary.then_some(8));
        agrees(name, bytes, &expected_f16(name), cpu());
        // Without being asked, a model of floats gets 8-bit matrices, and floats meet them.
        let (_, report) = imported(&folder(path), &Options::default()).unwrap();
        let body = match ternary {
            true => QuantMode::Ternary,
            false => QuantMode::EightBit,
        };
        let map = LayerBitMap::sandwich(report.config.num_layers, body);
        assert_eq!(report.config.bit_map(), map, "{name}");
        assert_eq!(report.config.activation_bits, ternary.then_some(8));
    });
}

#[test]
fn a_survey_tells_what_the_import_makes() {
    every_fixture(|name, path| {
        let input = folder(path);
        let found = pollster::block_on(survey(&input, &Options::default())).unwrap();
        assert_eq!(found.kept, None);
        for (head, bytes) in found.sizes {
            let options = Options {
                head,
                keep_head: false,
                ..Options::default()
            };
            let (_, report) = imported(&input, &options).unwrap();
            assert_eq!(report.bytes, bytes, "{name} with {head}");
            assert_eq!(report.architecture, found.architecture);
            assert_eq!(report.warnings, found.warnings);
        }
    });
}

/// Ends an import after so many tensors, or goes on with it.
#[derive(Default)]
struct Interrupted {
    ends_after: usize,
    /// What an earlier one wrote, and its plan.
    there: Vec<Written>,
    plan: Option<u32>,
    began: Vec<String>,
}

impl Observer for Interrupted {
    fn planned(&mut self, planned: Planned) -> Result<Vec<Written>, String> {
        let known = self.plan.replace(planned.plan) == Some(planned.plan);
        if !known {
            self.there.clear();
        }
        Ok(self.there.clone())
    }

    fn begins(&mut self, progress: Progress) {
        self.began.push(progress.tensor);
    }

    fn written(&mut self, written: Written) -> Result<(), String> {
        self.there.push(written);
        match self.there.len() == self.ends_after {
            true => Err("interrupted".into()),
            false => Ok(()),
        }
    }
}

#[test]
fn an_interrupted_import_goes_on_where_it_ended() {
    every_fixture(|name, path| {
        let (whole, _) = imported(&folder(path), &Options::default()).unwrap();
        let run = |sink: &mut MemorySink, observer: &mut Interrupted, options: &Options| {
            pollster::block_on(import(&folder(path), options, sink, observer))
        };
        for ends_after in [1, 5, 9] {
            let mut sink = MemorySink::default();
            let mut observer = Interrupted {
                ends_after,
                ..Default::default()
            };
            run(&mut sink, &mut observer, &Options::default()).unwrap_err();
            assert_ne!(sink.bytes, whole, "{name}");
            let before = std::mem::take(&mut observer.began);
            observer.ends_after = usize::MAX;
            run(&mut sink, &mut observer, &Options::default()).unwrap();
            assert!(
                sink.bytes == whole,
                "{name} is another after {ends_after} tensors"
            );
            assert!(before.iter().all(|tensor| !observer.began.contains(tensor)));
            // Another plan has its tensors elsewhere.
            observer.began.clear();
            let other = Options {
                context: Some(16),
                ..Options::default()
            };
            run(&mut MemorySink::default(), &mut observer, &other).unwrap();
            assert!(before.iter().all(|tensor| observer.began.contains(tensor)));
        }
    });
}

#[test]
fn what_is_no_model_is_told_with_what_is_here() {
    let mut input = Input::default();
    for i in 0..9 {
        let source = MemorySource::new("notes", Vec::new());
        input.add(&format!("notes-{i}.bin"), Box::new(source));
    }
    let problem = pollster::block_on(survey(&input, &Options::default())).unwrap_err();
    let message = problem.to_string();
    assert!(
        message.contains("9 files are here: notes-0.bin"),
        "{message}"
    );
    assert!(message.contains("config.json is missing"), "{message}");
}

#[test]
fn published_layouts_give_the_same_on_the_gpu() {
    use ternary_backend::BackendOptions;
    use ternary_backend::gpu::GpuBackend;
    if std::env::var("ONEBIT_GPU_TESTS").is_ok_and(|v| v == "off") {
        return;
    }
    every_fixture(|name, path| {
        for (options, want) in [(exact(), expected(path)), (halves(), expected_f16(name))] {
            let (bytes, _) = imported(&folder(path), &options).unwrap();
            let backend = pollster::block_on(GpuBackend::new(&BackendOptions::default())).unwrap();
            agrees(name, bytes, &want, Box::new(backend));
        }
    });
}

#[test]
fn wrong_conventions_are_noticed() {
    for name in ["bitnet-packed", "llama-packed-inverse-scale"] {
        let path = fixture(name).unwrap();
        let want = expected_f16(name);
        let error =
            |bytes| relative_error(&logits(&mut load(bytes, cpu()), &want.prompt), &want.logits);
        let input = folder(&path);
        assert!(error(imported_wrongly(&input, |_| {})) <= TOLERANCE);
        // Scales the other way round.
        let inverse = imported_wrongly(&input, |c| {
            for (_, scaling) in c.factors.values_mut() {
                *scaling = match scaling {
                    Scaling::Multiply => Scaling::Divide,
                    Scaling::Divide => Scaling::Multiply,
                };
            }
        });
        assert!(error(inverse) > WRONG, "{name}: scales");
        // RoPE's pairs side by side, as in GGUF's llama.
        let pairs = imported_wrongly(&input, |c| c.paired_rows = true);
        assert!(error(pairs) > WRONG, "{name}: pairs");
        let theta = imported_wrongly(&input, |c| c.config.rope_theta *= 4.0);
        assert!(error(theta) > 5.0 * TOLERANCE, "{name}: theta");
        // Packed rows 4r + i instead of r + i·rows/4.
        let mut input = input;
        let mut bytes = std::fs::read(path.join("model.safetensors")).unwrap();
        interleave_packed(&mut bytes);
        input.add(
            "model.safetensors",
            Box::new(MemorySource::new("spoiled", bytes)),
        );
        assert!(
            error(imported_wrongly(&input, |_| {})) > WRONG,
            "{name}: rows"
        );
    }
}

/// Packs the rows of every packed matrix in another order.
fn interleave_packed(file: &mut [u8]) {
    let head = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let tensors = safetensors::parse(&file[8..8 + head], file.len() as u64, 0).unwrap();
    for t in tensors
        .tensors
        .values()
        .filter(|t| t.storage == Storage::PackedRows)
    {
        let bytes = &mut file[t.offset as usize..][..t.bytes as usize];
        let (rows, cols) = (t.rows(), t.cols());
        let old = bytes.to_vec();
        bytes.fill(0);
        for row in 0..rows {
            for col in 0..cols {
                let code = old[row / 4 * cols + col] >> (2 * (row % 4)) & 3;
                bytes[row % (rows / 4) * cols + col] |= code << (2 * (row / (rows / 4)));
            }
        }
    }
}

#[test]
fn modes_and_context_follow_the_options() {
    let name = "llama-packed-inverse-scale";
    let path = fixture(name).unwrap();
    let input = folder(&path);
    let mut map = LayerBitMap::sandwich(3, QuantMode::Ternary);
    map.layer_modes[1] = ternary_core::config::LayerMode::Whole(QuantMode::EightBit);
    let options = Options {
        bit_map: Some(serde_json::to_string(&map).unwrap()),
        context: Some(64),
        ..Options::default()
    };
    let (bytes, report) = imported(&input, &options).unwrap();
    assert_eq!(report.config.bit_map(), map);
    assert_eq!(report.config.max_seq_len, 64);
    // int8 holds −1, 0 and +1 exactly.
    agrees(name, bytes, &expected_f16(name), cpu());
    let options = Options {
        head: QuantMode::EightBit,
        ..Options::default()
    };
    let (bytes, report) = imported(&input, &options).unwrap();
    assert_eq!(report.config.bit_map().lm_head, QuantMode::EightBit);
    let want = expected_f16(name);
    let error = relative_error(&logits(&mut load(bytes, cpu()), &want.prompt), &want.logits);
    assert!(error < WRONG, "8-bit ends: {error}");
    let options = Options {
        context: Some(257),
        ..Options::default()
    };
    let e = imported(&input, &options).unwrap_err().to_string();
    assert!(e.contains("257") && e.contains("256"), "{e}");
}

/// A fixture as f32 tensors with its configuration, to be changed.
fn opened(name: &str) -> (serde_json::Value, Vec<u8>) {
    let path = fixture(name).unwrap();
    let config = std::fs::read_to_string(path.join("config.json")).unwrap();
    let tensors = std::fs::read(path.join("model.safetensors")).unwrap();
    (serde_json::from_str(&config).unwrap(), tensors)
}

fn input_of(config: &serde_json::Value, tensors: Vec<u8>) -> Input {
    let mut input = Input::default();
    let config = config.to_string().into_bytes();
    input.add(
        "config.json",
        Box::new(MemorySource::new("config.json", config)),
    );
    let file = MemorySource::new("model.safetensors", tensors);
    input.add("model.safetensors", Box::new(file));
    input
}

/// The packed Llama as floats: every packed matrix multiplied out.
fn as_floats() -> (serde_json::Value, Tensors) {
    let path = fixture("llama-packed-inverse-scale").unwrap();
    let input = folder(&path);
    let (mut config, _) = opened("llama-packed-inverse-scale");
    config
        .as_object_mut()
        .unwrap()
        .remove("quantization_config");
    let tensors = pollster::block_on(async {
        let c = hf::open(&input, &[]).await.unwrap();
        let mut tensors = Tensors::new();
        for (name, t) in &c.tensors {
            let factor = c.factor(name).await.unwrap();
            let values = c.floats(t, 0, t.rows()).await.unwrap();
            let values = values.into_iter().map(|v| v * factor).collect();
            tensors.insert(name.clone(), (t.shape.clone(), values));
        }
        tensors
    });
    (config, tensors)
}

fn file_of(tensors: &Tensors) -> Vec<u8> {
    let list: Vec<_> = tensors
        .iter()
        .map(|(n, (s, v))| (n.clone(), s.clone(), v.clone()))
        .collect();
    crate::safetensors::serialize(&list).unwrap()
}

#[test]
fn ternary_floats_are_carried_as_codes() {
    let (config, mut tensors) = as_floats();
    let (plain, _) = imported(
        &folder(&fixture("llama-packed-inverse-scale").unwrap()),
        &Options::default(),
    )
    .unwrap();
    let (bytes, report) =
        imported(&input_of(&config, file_of(&tensors)), &Options::default()).unwrap();
    assert_eq!(
        report.config.bit_map(),
        LayerBitMap::sandwich(3, QuantMode::Ternary)
    );
    assert_eq!(
        report.config.weight_scale,
        ternary_core::config::WeightScale::Tensor
    );
    // Of a plain Llama nothing says that its activations are int8.
    assert_eq!(report.config.activation_bits, None);
    let all = |bytes: Vec<u8>| {
        let source = MemorySource::new("file", bytes);
        pollster::block_on(async {
            let file = OneBit::open(&source).await.unwrap();
            let mut all = Vec::new();
            for t in &file.tensors {
                let mut bytes = Vec::new();
                let take = &mut |rows: ternary_formats::onebit::TensorRows| {
                    bytes.extend_from_slice(rows.bytes);
                    Ok(())
                };
                let scales = file.read_tensor(&source, t, take).await.unwrap();
                all.push((t.name.clone(), bytes, scales));
            }
            all
        })
    };
    assert_eq!(all(plain.clone()), all(bytes));
    // Rows of different scales keep them; one weight off, and the matrix is of floats.
    let name = "model.layers.0.mlp.up_proj.weight";
    tensors.get_mut(name).unwrap().1[256..512]
        .iter_mut()
        .for_each(|v| *v *= 2.0);
    let (_, report) = imported(&input_of(&config, file_of(&tensors)), &Options::default()).unwrap();
    assert_eq!(
        report.config.weight_scale,
        ternary_core::config::WeightScale::Row
    );
    tensors.get_mut(name).unwrap().1[300] = 0.3;
    let (_, report) = imported(&input_of(&config, file_of(&tensors)), &Options::default()).unwrap();
    assert_eq!(
        report.config.bit_map().layer_modes[0].get(ternary_core::config::MatrixKind::Up),
        QuantMode::F16
    );
}

#[test]
fn shards_and_old_names_are_read() {
    let path = fixture("bitnet-packed").unwrap();
    let (want, _) = imported(&folder(&path), &Options::default()).unwrap();
    let (config, tensors) = opened("bitnet-packed");
    let file = ::safetensors::SafeTensors::deserialize(&tensors).unwrap();
    let old = |name: &str| {
        name.replace("self_attn.attn_sub_norm", "self_attn.inner_attn_ln")
            .replace("mlp.ffn_sub_norm", "mlp.ffn_layernorm")
    };
    let mut input = input_of(&config, Vec::new());
    let mut index = serde_json::Map::new();
    for shard in 0..2 {
        let name = format!("model-{shard}.safetensors");
        let part = file
            .tensors()
            .into_iter()
            .enumerate()
            .filter(|(i, _)| i % 2 == shard);
        let part: Vec<_> = part.map(|(_, (n, view))| (old(&n), view)).collect();
        for (tensor, _) in &part {
            index.insert(tensor.clone(), name.clone().into());
        }
        let bytes = ::safetensors::serialize(part, None).unwrap();
        input.add(&name, Box::new(MemorySource::new(&name, bytes)));
    }
    let index = serde_json::json!({"weight_map": index})
        .to_string()
        .into_bytes();
    let name = "model.safetensors.index.json";
    input.add(name, Box::new(MemorySource::new(name, index)));
    let (bytes, _) = imported(&input, &Options::default()).unwrap();
    assert!(bytes == want);
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let (config, tensors) = opened("llama-packed-inverse-scale");
    let refused = |field: &str, value: serde_json::Value, words: &[&str]| {
        let mut config = config.clone();
        match field.split_once('.') {
            Some((outer, inner)) => config[outer][inner] = value,
            None => config[field] = value,
        }
        let e = imported(&input_of(&config, tensors.clone()), &Options::default());
        let e = e.unwrap_err().to_string();
        assert!(words.iter().all(|w| e.contains(w)), "{field}: {e}");
    };
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    refused(
        "architectures",
        json(r#"["MambaForCausalLM"]"#),
        &["MambaForCausalLM", "state-space"],
    );
    refused(
        "architectures",
        json(r#"["Qwen3MoeForCausalLM"]"#),
        &["Qwen3MoeForCausalLM", "mixture of experts"],
    );
    refused("num_local_experts", json("8"), &["num_local_experts"]);
    refused(
        "architectures",
        json(r#"["BertForMaskedLM"]"#),
        &["BertForMaskedLM", "no decoder"],
    );
    refused(
        "architectures",
        json(r#"["StrangeForCausalLM"]"#),
        &[
            "StrangeForCausalLM",
            "LlamaForCausalLM",
            "Gemma3ForCausalLM",
        ],
    );
    refused(
        "attention_temperature",
        json("0.7"),
        &["attention_temperature", "--ignore-key"],
    );
    refused("attention_bias", json("true"), &["attention_bias"]);
    refused("head_dim", json("32"), &["q_proj", "[128, 256]"]);
    refused(
        "hidden_act",
        json("\"quick_gelu\""),
        &["hidden_act", "quick_gelu", "relu2"],
    );
    refused("sliding_window", json("16"), &["sliding_window"]);
    refused(
        "rope_parameters.rope_type",
        json("\"spiral\""),
        &["spiral", "llama3"],
    );
    refused(
        "quantization_config.quant_method",
        json("\"awq\""),
        &["awq", "bitnet"],
    );
    refused(
        "quantization_config.use_rms_norm",
        json("true"),
        &["use_rms_norm"],
    );
    refused(
        "quantization_config.linear_class",
        json("\"other\""),
        &["linear_class", "autobitlinear"],
    );
}

#[test]
fn tensors_that_do_not_fit_are_refused_by_name() {
    let (config, tensors) = as_floats();
    let refused = |spoil: &dyn Fn(&mut Tensors), words: &[&str]| {
        let mut tensors = tensors.clone();
        spoil(&mut tensors);
        let e = imported(&input_of(&config, file_of(&tensors)), &Options::default());
        let e = e.unwrap_err().to_string();
        assert!(words.iter().all(|w| e.contains(w)), "{e}");
    };
    let up = "model.layers.1.mlp.up_proj.weight";
    refused(&|t| drop(t.remove(up)), &[up, "missing"]);
    refused(
        &|t| {
            let (shape, values) = t.get_mut(up).unwrap();
            shape[0] -= 1;
            values.truncate(shape[0] * shape[1]);
        },
        &[up, "511", "512"],
    );
    refused(&|t| t.get_mut(up).unwrap().1[7] = f32::NAN, &[up, "NaN"]);
    refused(
        &|t| {
            drop(t.insert(
                "model.layers.0.self_attn.q_proj.bias".into(),
                (vec![256], vec![0.0; 256]),
            ))
        },
        &["model.layers.1.self_attn.q_proj.bias", "missing"],
    );
    refused(
        &|t| {
            drop(t.insert(
                "model.layers.0.self_attn.sinks".into(),
                (vec![4], vec![0.0; 4]),
            ))
        },
        &["self_attn.sinks", "unknown to a llama decoder"],
    );
    refused(
        &|t| t.get_mut("model.embed_tokens.weight").unwrap().1[7] = 1e6,
        &["embed_tokens", "F16"],
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_bytes_are_safe(bytes in prop::collection::vec(any::<u8>(), 0..300), len in any::<u64>()) {
        let mut gguf = b"GGUF\x03\0\0\0".to_vec();
        gguf.extend(&bytes);
        let len = len.max(gguf.len() as u64);
        if let Ok(parsed) = gguf::parse(&gguf, len, 0) {
            for t in parsed.tensors {
                prop_assert!(t.offset + t.bytes <= len);
            }
        }
        let _ = safetensors::parse(&bytes, len, 0);
        let mut input = Input::default();
        input.add("m.gguf", Box::new(MemorySource::new("m.gguf", bytes.clone())));
        prop_assert!(imported(&input, &Options::default()).is_err());
        let (config, _) = opened("bitnet-packed");
        prop_assert!(imported(&input_of(&config, bytes), &Options::default()).is_err());
    }

    #[test]
    fn a_damaged_head_is_an_error_or_harmless(at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let (config, mut tensors) = opened("bitnet-packed");
        let head = 8 + u64::from_le_bytes(tensors[..8].try_into().unwrap()) as usize;
        tensors[at.index(head)] = value;
        let _ = imported(&input_of(&config, tensors), &Options::default());
    }
}

/// Sampling as generation_config.json has it; what means nothing is left out.
#[test]
fn sampling_is_as_the_makers_say() {
    for (text, expected) in [
        (
            r#"{"do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": 0.95}"#,
            Some((Some(0.6), Some(0.95), Some(20))),
        ),
        (r#"{"do_sample": false}"#, Some((Some(0.0), None, None))),
        (r#"{"eos_token_id": 2}"#, None),
        (
            r#"{"temperature": "hot", "top_p": 7, "top_k": -1, "repetition_penalty": 0}"#,
            None,
        ),
    ] {
        let Some(path) = fixture("bitnet-packed") else {
            return eprintln!("SKIPPED: bitnet-packed is not in ONEBIT_SHARED");
        };
        let mut input = folder(&path);
        let source = MemorySource::new("generation_config.json", text.into());
        input.add("generation_config.json", Box::new(source));
        let (_, _, metadata) =
            pollster::block_on(prepare(&input, &Options::default(), false)).unwrap();
        let found = metadata.sampling;
        assert_eq!(
            found.map(|s| (s.temperature, s.top_p, s.top_k)),
            expected,
            "{text}"
        );
    }
}
