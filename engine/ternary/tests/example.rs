//! `examples/train_wikitext.rs` runs, on a few kilobytes.

#[path = "../examples/train_wikitext.rs"]
#[allow(dead_code, reason = "its main is for people")]
mod train_wikitext;

use train_wikitext::train_and_measure;

#[test]
fn the_example_trains_exports_and_measures() {
    let dir = tempfile::tempdir().unwrap();
    let text = |words: std::ops::Range<u32>| -> String {
        words
            .map(|i| {
                format!(
                    " the {} of {} was {} ;{}",
                    i % 97,
                    i * i % 1009,
                    i % 13,
                    if i % 8 == 0 { "\n" } else { "" }
                )
            })
            .collect()
    };
    for (name, words) in [
        ("train", 0..900),
        ("valid", 900..1100),
        ("test", 1100..1200),
    ] {
        std::fs::write(dir.path().join(format!("{name}.txt")), text(words)).unwrap();
    }
    let output = dir.path().join("run");
    let result = train_and_measure(dir.path(), &output, 2).unwrap();
    assert!(
        result.word_perplexity.is_finite() && result.word_perplexity > 1.0,
        "{result:?}"
    );
    assert!(output.join("model.1bit").is_file() && output.join("best.json").is_file());
    // A second run into the same folder is refused, and a folder without texts.
    let e = train_and_measure(dir.path(), &output, 2)
        .unwrap_err()
        .to_string();
    assert!(e.contains("step-0000002"), "{e}");
    let e = train_and_measure(&output, &output, 2)
        .unwrap_err()
        .to_string();
    assert!(e.contains("train"), "{e}");
}
