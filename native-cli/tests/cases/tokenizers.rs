//! tokenizer.json of others.

use serde_json::{Value, json};

use crate::support::*;

/// A scripted model with a tokenizer.json that was changed.
fn changed(change: impl FnOnce(&mut Value)) -> Model {
    let mut model = reply(&["Yes", " sir"]);
    change(&mut model.tokenizer.json);
    model
}

#[test]
fn truncation_and_padding_are_not_obeyed() {
    let place = Place::new();
    let model = changed(|t| {
        t["truncation"] =
            json!({"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0});
        t["padding"] = json!({"strategy": {"Fixed": 40}, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "<|endoftext|>"});
    });
    model.write_hf(&place.at("model"));
    let out = place.import("model", &[]).ok();
    assert!(
        out.stderr.contains("truncation and padding"),
        "{}",
        out.stderr
    );
    assert_eq!(
        place.generate("A prompt of more than three tokens!"),
        "Yes sir"
    );
    put(&place.at("tok.json"), model.tokenizer.json.to_string());
    put(&place.at("t.txt"), "0123456789".repeat(100));
    place
        .run(&[
            "tokenize",
            "--data-dir",
            "t.txt",
            "--tokenizer",
            "tok.json",
            "--output",
            "t.tokens",
        ])
        .ok();
    let info = place.run(&["inspect", "t.tokens", "--json"]).ok().json();
    assert!(info["tokens"].as_u64().unwrap() >= 1000, "{info}");
}

#[test]
fn a_tokenizer_that_is_none_is_found_out_at_import() {
    let place = Place::new();
    let model = reply(&["Yes", " sir"]);
    for (text, word) in [
        ("{}", "tokenizer.json"),
        ("[]", "tokenizer.json"),
        ("{\"model\"", "tokenizer.json"),
    ] {
        model.write_hf(&place.at("model"));
        put(&place.at("model/tokenizer.json"), text);
        place.import("model", &[]).fails(&[word]);
    }
}
