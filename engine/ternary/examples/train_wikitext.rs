//! The library from end to end: train a tokenizer and a small ternary model on WikiText-2, measure
//! it, write a `.1bit` file.
//!
//! ```sh
//! onebit download wikitext-2
//! cargo run --release --example train_wikitext -- data/wikitext-2 --steps 2000
//! ```
//!
//! The folder needs a `train`, a `valid` and a `test` text (`.txt`, or `.raw` as in the original
//! archive). Everything is written to `wikitext-run/`, or to the folder given by `--output-dir`,
//! which must not hold a run yet.
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::path::{Path, PathBuf};

use ternary::IoContext;
use ternary::backend::cpu::CpuBackend;
use ternary::config::{LrDecay, ModelConfig, TrainConfig, WeightScale};
use ternary::data::{self, Encoder, Pieces, TextFile, TokenData, TokenWriter, TrainingData};
use ternary::format::{Dense, MemorySource, Metadata, OneBit, Packing, encode};
use ternary::infer::{Evaluation, Model, evaluate};
use ternary::tokenizer::Tokenizer;
use ternary::train::checkpoint::{self, Companions};
use ternary::train::{RunOptions, Trainer, Update, run};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Tokens of the vocabulary and of a training sequence.
const VOCAB: usize = 4096;
const SEQ: usize = 128;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let (mut texts, mut output, mut steps) = (None, PathBuf::from("wikitext-run"), 2000);
    let usage = || "usage: train_wikitext FOLDER [--steps N] [--output-dir DIR]";
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(usage);
        match arg.as_str() {
            "--steps" => steps = value()?.parse().map_err(|_| usage())?,
            "--output-dir" => output = value()?.into(),
            _ if arg.starts_with('-') || texts.is_some() => return Err(usage().into()),
            _ => texts = Some(PathBuf::from(arg)),
        }
    }
    let result = train_and_measure(&texts.ok_or_else(usage)?, &output, steps)?;
    println!("test loss             {:.4} nats per token", result.loss);
    println!("word-level perplexity {:.1}", result.word_perplexity);
    println!("bits per byte         {:.3}", result.bits_per_byte);
    Ok(())
}

/// All the steps; the library's only futures are those of backends, which the CPU's resolves at
/// once, so blocking on them is fine.
pub fn train_and_measure(texts: &Path, output: &Path, steps: usize) -> Result<Evaluation> {
    let [train_text, valid_text, test_text] = [
        find(texts, "train").map(TextFile::new)?,
        find(texts, "valid").map(TextFile::new)?,
        find(texts, "test").map(TextFile::new)?,
    ];

    // 1. A byte-level BPE tokenizer. Texts come piece by piece, so they may be larger than memory.
    //    A text that cannot be read ends here early, and step 2 says why.
    let pieces = Pieces::new(std::slice::from_ref(&train_text), false);
    let tokenizer = Tokenizer::train(
        pieces.map_while(|p| p.ok()).map(|p| p.document.plain()),
        VOCAB,
    )?;
    let json = tokenizer.to_json()?;
    println!("tokenizer: {} tokens", tokenizer.vocab_size());

    // 2. Texts to `.tokens` files, which training maps into memory. The checksum ties them to their
    //    tokenizer.
    let encoder = Encoder::new(&tokenizer, None);
    let tokenize = |text: &TextFile, name: &str| -> Result<TokenData> {
        let path = output.join(name);
        let vocab = tokenizer.vocab_size() as u32;
        let mut writer = TokenWriter::create(&path, vocab, SEQ as u32, data::checksum(&json))?;
        data::encode_files(&encoder, std::slice::from_ref(text), &mut |piece, _| {
            writer.push(&piece.ids)
        })?;
        writer.finish()?;
        Ok(TokenData::open(&[path])?)
    };
    let tokens = tokenize(&train_text, "train.tokens")?;
    let validation = tokenize(&valid_text, "valid.tokens")?;
    println!(
        "data: {} tokens to train on, {} to validate",
        tokens.len(),
        validation.len()
    );

    // 3. The model: every matrix of the body ternary with one scale, embedding and head (which are
    //    one) in F16: the sandwich. int8 activations make every product of the body one of
    //    integers.
    let config = ModelConfig {
        vocab_size: tokenizer.vocab_size(),
        hidden_size: 128,
        num_heads: 4,
        num_layers: 4,
        intermediate_size: 344,
        max_seq_len: SEQ,
        use_swiglu: true,
        use_rope: true,
        use_qk_norm: true,
        use_residual_scaling: false,
        use_dynamic_threshold: false,
        weight_scale: WeightScale::Tensor,
        ste_scale_factor: 1.0,
        anneal_fraction: 0.0,
        activation_bits: Some(8),
        tie_word_embeddings: true,
        init_std: 0.02,
        embed_init_std: 0.02,
        ..ModelConfig::default()
    };
    // 4. How it is trained. Ternary latents want higher rates than floats.
    let train = TrainConfig {
        lr: 4e-3,
        lr_decay: LrDecay::Cosine,
        lr_warmup_steps: 100.min(steps / 10),
        lr_min_ratio: 0.02,
        max_steps: steps,
        batch_size: 16,
        beta2: 0.98,
        weight_decay: 0.05,
        z_loss: 1e-4,
        eval_every: 200,
        log_every: 20,
        save_every: 500,
        ..TrainConfig::default()
    };
    println!(
        "model: {:.2}M parameters",
        config.parameter_count() as f64 / 1e6
    );

    // 5. The trainer records the model's programs on a backend (0 threads = all); `run` makes the
    //    steps, writes metrics.jsonl and checkpoints, and tells an observer what happens.
    let mut trainer = Trainer::new(Box::new(CpuBackend::new(0)), config, train)?;
    let options = RunOptions {
        output_dir: output.to_owned(),
        companions: Companions {
            tokenizer: json,
            chat_template: None,
        },
        resume: false,
        // Set it from a signal handler to stop with a checkpoint.
        stop: Default::default(),
        tensorboard: false,
    };
    let mut observe = |update: Update| match update {
        Update::Step(r) if r.step % 20 == 0 => println!("step {}: loss {:.3}", r.step, r.loss),
        Update::Logged(line) => {
            if let Some(loss) = line.val_loss {
                println!("step {}: validation loss {loss:.3}", line.step);
            }
        }
        Update::Warning(text) => println!("warning: {text}"),
        _ => {}
    };
    pollster::block_on(run(
        &mut trainer,
        &TrainingData::from(tokens),
        Some(&validation),
        &options,
        &mut observe,
    ))?;

    // 6. The checkpoint with the lowest validation loss as a `.1bit` file: codes and scales instead
    //    of latents.
    let loaded = checkpoint::load(&checkpoint::resolve(&output.join("best"))?)?;
    let metadata = Metadata {
        name: "WikiText-2 example".into(),
        config: loaded.config,
        tokenizer: Some(loaded.companions.tokenizer),
        ..Metadata::default()
    };
    let bytes = encode(metadata, &loaded.tensors, Packing::Ternary2, Dense::No)?;
    let file = output.join("model.1bit");
    std::fs::write(&file, &bytes).at("write", &file)?;
    println!("{}: {:.2} MB", file.display(), bytes.len() as f64 / 1e6);

    // 7. Measure what was exported, as a user would load it. Word-level perplexity does not depend
    //    on the tokenizer.
    let source = MemorySource::new("model.1bit", bytes);
    let opened = pollster::block_on(OneBit::open(&source))?;
    let backend = Box::new(CpuBackend::new(0));
    let mut model = pollster::block_on(Model::load(backend, &opened, &source, &mut |_| {}))?;
    let mut text = String::new();
    for piece in Pieces::new(&[test_text], false) {
        text += &piece?.document.plain();
    }
    Ok(pollster::block_on(evaluate(
        &mut model,
        &tokenizer,
        &text,
        &mut |_, _| {},
    ))?)
}

/// The text of `folder` whose name has `part` in it.
fn find(folder: &Path, part: &str) -> Result<PathBuf> {
    let entries = std::fs::read_dir(folder).at("read the folder", folder)?;
    let mut texts: Vec<PathBuf> = entries
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "txt" || e == "raw"))
        .filter(|p| {
            p.file_name()
                .is_some_and(|n| n.to_string_lossy().contains(part))
        })
        .collect();
    texts.sort();
    texts.into_iter().next().ok_or_else(|| {
        let problem = format!(
            "{} has no .txt or .raw file with `{part}` in its name; `onebit download wikitext-2` fetches them",
            folder.display()
        );
        problem.into()
    })
}
