//! Trainings that go wrong say what is wrong, where, and what is left.

use std::path::Path;

use crate::common::{CONFIG, Output, line, newest, workplace};

fn train(dir: &Path, flags: &str) -> Output {
    line(
        dir,
        &format!(
            "train --config config.json --data-dir tokens --tokenizer tok.json --device cpu --batch-size 1 \
             --output-dir out {flags}"
        ),
    )
}

/// Overwrite the first value of a tensor in a checkpoint.
fn inject(checkpoint: &Path, tensor: &str, value: f32) {
    let file = checkpoint.join("model.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let table: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let start = 8 + header + table[tensor]["data_offsets"][0].as_u64().unwrap() as usize;
    bytes[start..start + 4].copy_from_slice(&value.to_le_bytes());
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn infinity_in_a_parameter_is_named_with_the_last_checkpoint_without_it() {
    let dir = workplace();
    let d = dir.path();
    train(d, "--max-steps 4 --save-every 2").ok();
    let last = newest(&d.join("out"));
    let tensor = "model.layers.1.mlp.up_proj.weight";
    inject(&last, tensor, f32::INFINITY);
    train(d, "--max-steps 8 --resume").fails(&[
        "at step 5",
        tensor,
        "holds inf",
        "last good checkpoint",
        "out/step-0000002",
    ]);
}

#[test]
fn an_absurd_learning_rate_stops_with_the_parameter_and_the_checkpoint() {
    let dir = workplace();
    let d = dir.path();
    // Saved at step 3; afterwards the latents, and with them the activations, leave what f32 can
    // hold.
    let out = train(
        d,
        "--max-steps 3 --save-every 1 --lr 10 --lr-warmup-steps 0",
    )
    .ok();
    assert!(!out.stderr.contains("warning"), "{}", out.stderr);
    inject(&newest(&d.join("out")), "model.norm.weight", 1e38);
    train(d, "--max-steps 9 --resume --lr 10 --lr-warmup-steps 0").fails(&[
        "at step 4",
        "model.",
        "--lr",
        "last good checkpoint",
        "out/step-0000003",
    ]);
}

#[test]
fn a_loss_above_uniform_guessing_is_warned_of_with_the_likely_cause() {
    let dir = workplace();
    let d = dir.path();
    let out = train(
        d,
        "--max-steps 60 --lr 3 --lr-warmup-steps 0 --lr-decay constant",
    )
    .ok()
    .stderr;
    assert!(
        out.contains("above uniform guessing")
            && out.contains("the learning rate (peak 3) is likely too high"),
        "{out}"
    );
    assert!(!out.contains("embed_init_std"), "{out}");
    assert_eq!(
        out.matches("above uniform").count(),
        1,
        "once is enough: {out}"
    );

    std::fs::remove_dir_all(d.join("out")).unwrap();
    let wide = CONFIG.replace(
        "\"hidden_size\"",
        "\"embed_init_std\": 1.0, \"hidden_size\"",
    );
    std::fs::write(d.join("config.json"), wide).unwrap();
    let out = train(d, "--max-steps 60 --lr 0.00001").ok().stderr;
    assert!(
        out.contains("above uniform guessing")
            && out.contains("embed_init_std 1 is likely too large"),
        "{out}"
    );
    assert!(!out.contains("learning rate"), "{out}");
}
