//! Every kind of model the config can describe goes through train, export, generate and eval.

use serde_json::{Value, json};

use crate::common::{line, metrics, workplace};

#[test]
fn every_kind_of_model_trains_and_speaks() {
    let per_matrix = json!({"q": "binary", "k": "ternary", "v": "f16", "o": "eightbit", "gate": "binary", "up": "ternary", "down": "eightbit"});
    let kinds = [
        json!({"use_rope": false, "use_swiglu": false}),
        json!({"use_ternary": false, "binary_centered": true, "activation_bits": null}),
        json!({"weight_scale": "none", "embed_init_std": 1.0, "use_dynamic_threshold": true}),
        json!({"weight_scale": "row", "tie_word_embeddings": false, "use_sub_norm": true, "activation": "relu2"}),
        // A scale that ends inside a binary tile, and one inside a ternary tile.
        json!({"use_ternary": false, "weight_scale": "group", "weight_group_size": 128, "hidden_size": 384, "intermediate_size": 128}),
        json!({"weight_scale": "group", "weight_group_size": 32, "hidden_size": 320, "intermediate_size": 96}),
        // More rows than the tokenizer has tokens, one key/value head, an odd number of everything
        // else.
        json!({"vocab_size": 331, "num_kv_heads": 1, "hidden_size": 56, "intermediate_size": 33, "num_layers": 3, "max_seq_len": 37}),
        json!({"use_qk_norm": false, "anneal_fraction": 1.0, "arenas_initial": 0.2, "arenas_anneal_steps": 2}),
        json!({"layer_bit_map": {"embedding": "eightbit", "lm_head": "eightbit", "layer_modes": [per_matrix, "ternary"]}}),
    ];
    let dir = workplace();
    let d = dir.path();
    for (i, kind) in kinds.iter().enumerate() {
        let mut config: Value = serde_json::from_str(crate::common::CONFIG).unwrap();
        for (key, value) in kind.as_object().unwrap() {
            config[key] = value.clone();
        }
        std::fs::write(d.join("c.json"), config.to_string()).unwrap();
        line(
            d,
            &format!(
                "train --config c.json --data-dir tokens --tokenizer tok.json --output-dir out{i} --val-data-dir valid.txt \
                 --max-steps 3 --batch-size 2 --lr-warmup-steps 0 --log-every 1 --device cpu"
            ),
        )
        .ok();
        let lines = metrics(&d.join(format!("out{i}")));
        let val = lines.last().unwrap()["val_loss"].as_f64();
        assert!(val.is_some_and(|v| v > 1.0), "{kind}: {lines:?}");
        let mut texts = Vec::new();
        for mode in ["ternary", "base3"] {
            line(
                d,
                &format!("export --model-dir out{i} --output m{i}.1bit --pack-mode {mode}"),
            )
            .ok();
            let text = line(d, &format!("generate --model m{i}.1bit --prompt The --temperature 0 --max-tokens 12 --json --device cpu"))
                .ok()
                .json()["text"]
                .clone();
            texts.push(text);
        }
        assert_eq!(texts[0], texts[1], "{kind}");
        line(d, &format!("inspect m{i}.1bit")).ok();
        let v = line(
            d,
            &format!("eval --model m{i}.1bit --data valid.txt --json --device cpu"),
        )
        .ok()
        .json();
        assert!(
            v["loss"].as_f64().is_some_and(|l| l.is_finite() && l > 1.0),
            "{kind}: {v}"
        );
    }
}
