//! `onebit plot`.

use std::path::Path;

use crate::common::{fixture, line, workplace};

/// Made-up metrics of a run: a falling loss with noise, validations every tenth line.
fn run(dir: &Path, name: &str, steps: usize, floor: f64) {
    let mut text = String::new();
    let mut noise = 7u64;
    for i in 1..=steps {
        noise = noise
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let wobble = (noise >> 33) as f64 / (1u64 << 31) as f64 - 0.5;
        let step = i * 10;
        let loss = floor + 6.0 / (1.0 + 0.02 * step as f64) + 0.3 * wobble;
        let validation = if i % 10 == 0 {
            format!(",\"val_loss\":{}", loss + 0.1 - 0.25 * wobble)
        } else {
            String::new()
        };
        text += &format!(
            "{{\"step\":{step},\"train_loss\":{loss},\"learning_rate\":{},\"tokens_per_second\":3000,\"grad_norm\":{},\"tokens\":{},\"seconds\":{}{validation}}}\n",
            4e-3 / step as f64,
            1.0 + wobble,
            step * 4096,
            step as f64 * 1.3,
        );
    }
    std::fs::create_dir_all(dir.join(name)).unwrap();
    std::fs::write(dir.join(name).join("metrics.jsonl"), text).unwrap();
}

#[test]
fn runs_are_drawn_with_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    run(d, "ternary & small", 300, 1.2);
    run(d, "binary", 200, 1.6);
    run(d, "eight-bit", 3000, 1.0);
    let plot = |runs: &[&str], flags: &str| {
        let mut args = vec!["plot"];
        args.extend(runs);
        args.extend(flags.split_whitespace());
        crate::common::run(d, &args)
    };
    let all = ["ternary & small", "binary/", "eight-bit/metrics.jsonl"];
    plot(&all, "--output losses.svg --smooth 0.9").ok();
    let svg = std::fs::read_to_string(d.join("losses.svg")).unwrap();
    for text in [
        "ternary &amp; small",
        ">binary<",
        ">eight-bit<",
        ">training<",
        ">validation<",
        "loss (nats per token)",
        ">step<",
    ] {
        assert!(svg.contains(text), "{text}");
    }
    // Three curves smoothed, three faint behind them, three of validations; the rest is axes and
    // legend.
    assert_eq!(svg.matches("stroke-opacity=\"0.3\"").count(), 3);
    assert!(svg.len() < 400_000 && svg.ends_with("</svg>\n") && !svg.contains("NaN"));
    plot(&all, "--output losses.png --smooth 0.9").ok();
    let png = std::fs::read(d.join("losses.png")).unwrap();
    assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
    assert!(png.len() > 20_000 && png.len() < 1_000_000, "{}", png.len());
    for (metric, title) in [
        ("grad_norm", "gradient norm"),
        ("learning_rate", "learning rate"),
        ("tokens_per_second", "tokens per second"),
        ("val_loss", "validation loss"),
        ("train_loss", "training loss"),
    ] {
        for (x, axis) in [
            ("step", "step"),
            ("tokens", "training tokens"),
            ("time", "seconds"),
        ] {
            plot(
                &all[..2],
                &format!("--output x.svg --metric {metric} --x {x} --log-x --log-y"),
            )
            .ok();
            let svg = std::fs::read_to_string(d.join("x.svg")).unwrap();
            assert!(svg.contains(title) && svg.contains(axis), "{metric} {x}");
        }
    }
    // With ONEBIT_PICTURES set to a folder the pictures are kept, to be looked at.
    if let Some(keep) = std::env::var_os("ONEBIT_PICTURES") {
        plot(&all[..2], "--output lr.png --metric learning_rate --log-y").ok();
        plot(&all, "--output log.png --x tokens --log-x").ok();
        for name in ["losses.svg", "losses.png", "lr.png", "log.png"] {
            std::fs::copy(d.join(name), Path::new(&keep).join(name)).unwrap();
        }
    }
}

#[test]
fn real_metrics_and_bad_ones() {
    let dir = workplace();
    let d = dir.path();
    let real = fixture().join("run").display().to_string();
    line(d, &format!("plot {real} --output real.png")).ok();
    let text = std::fs::read_to_string(fixture().join("run/metrics.jsonl")).unwrap();
    let write = |name: &str, text: &str| {
        std::fs::create_dir_all(d.join(name)).unwrap();
        std::fs::write(d.join(name).join("metrics.jsonl"), text).unwrap();
    };
    // A crash cut the last line short.
    write("cut", &text[..text.len() - 20]);
    line(d, "plot cut --output cut.svg").ok();
    write("empty", "");
    line(d, "plot empty --output x.svg").fails(&["empty/metrics.jsonl", "no complete line"]);
    write("broken", &format!("{{\"step\n{text}"));
    line(d, "plot broken --output x.svg").fails(&["broken/metrics.jsonl, line 1"]);
    write("other", "{\"a\": 1}\n{\"a\": 2}\n");
    line(d, "plot other --output x.svg").fails(&["line 1", "no `step`"]);
    write("old", "{\"step\":1,\"train_loss\":2.0}\n");
    line(d, "plot old --output x.svg").ok();
    line(d, "plot old --output x.svg --x time").fails(&["old", "`seconds`", "--x step"]);
    line(d, "plot old --output y.svg --metric val_loss").fails(&["nothing to draw"]);
    line(d, "plot gone --output x.svg").fails(&["gone", "--output-dir"]);
    line(d, "plot tokens --output x.svg").fails(&["tokens/metrics.jsonl"]);
    line(d, "plot old --output x.pdf").fails(&["x.pdf", ".svg or .png"]);
    line(d, "plot old --output x.svg --smooth 1").fails(&["--smooth 1"]);
    line(d, "plot old --output no/x.svg").fails(&["no/x.svg"]);
}
