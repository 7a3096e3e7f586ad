//! eval, generate, logits, chat, export, inspect, bench.

use std::path::Path;

use serde_json::Value;

use crate::common::{TEMPLATE, fixture, line, newest, run, sentences, typed, workplace};

const PROMPTS: [&str; 3] = ["The cat", "One day, by the river, the", "Then"];

/// Greedy text of `model` after `prompt`.
fn greedy(dir: &Path, model: &str, prompt: &str) -> String {
    let args = [
        "generate",
        "--device",
        "cpu",
        "--model",
        model,
        "--prompt",
        prompt,
        "--temperature",
        "0",
        "--max-tokens",
        "24",
        "--json",
    ];
    run(dir, &args).ok().json()["text"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn evaluation_figures_agree_with_each_other() {
    let dir = fixture();
    let v = line(
        dir,
        "eval --model model.1bit --data valid.txt --json --device cpu",
    )
    .ok()
    .json();
    let get = |key: &str| v[key].as_f64().unwrap_or_else(|| panic!("{key} in {v}"));
    let text = std::fs::read_to_string(dir.join("valid.txt")).unwrap();
    let total = get("loss") * get("tokens");
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9 * b.abs(), "{a} {b}");
    close(get("perplexity"), get("loss").exp());
    close(
        get("bits_per_byte"),
        total / std::f64::consts::LN_2 / text.len() as f64,
    );
    let words = text.split_whitespace().count() + text.matches('\n').count();
    close(get("word_perplexity"), (total / words as f64).exp());
    // Every token of the text is predicted, the first one too.
    let json = std::fs::read_to_string(dir.join("tok.json")).unwrap();
    let ids = ternary::tokenizer::Tokenizer::from_json(&json)
        .unwrap()
        .encode(&text)
        .unwrap();
    assert_eq!(get("tokens") as usize, ids.len());
    // It learned the sentences; other words are harder.
    assert!(get("loss") < 4.5, "{v}");
    let other = workplace();
    std::fs::write(
        other.path().join("other.txt"),
        "zyx QWJ 0412 kvg. ".repeat(40),
    )
    .unwrap();
    let model = dir.join("model.1bit").display().to_string();
    let args = [
        "eval",
        "--model",
        &model,
        "--data",
        "other.txt",
        "--json",
        "--device",
        "cpu",
    ];
    let harder = run(other.path(), &args).ok().json();
    assert!(harder["bits_per_byte"].as_f64() > v["bits_per_byte"].as_f64());
    // The same figures for people.
    let plain = line(dir, "eval --model run --data valid.txt --device cpu")
        .ok()
        .stdout;
    for word in [
        "tokens",
        "loss",
        "perplexity",
        "bits per byte",
        "word perplexity",
    ] {
        assert!(plain.contains(word), "{plain}");
    }
    assert!(plain.contains(&format!("{:.4}", get("loss"))), "{plain}");
}

#[test]
fn greedy_text_is_the_same_from_every_form_of_a_model() {
    let dir = workplace();
    let d = dir.path();
    let run_dir = fixture().join("run").display().to_string();
    let file = fixture().join("model.1bit").display().to_string();
    line(
        d,
        &format!("export --model-dir {run_dir} --output base3.1bit --pack-mode base3"),
    )
    .ok();
    let checkpoint = newest(&fixture().join("run")).display().to_string();
    for prompt in PROMPTS {
        let text = greedy(d, &file, prompt);
        assert!(!text.is_empty());
        for other in ["base3.1bit", &run_dir, &checkpoint] {
            assert_eq!(greedy(d, other, prompt), text, "{other}");
        }
    }
}

#[test]
fn sampling_follows_its_flags() {
    let dir = fixture();
    let json = |flags: &str| {
        let mut args = vec![
            "generate",
            "--model",
            "model.1bit",
            "--device",
            "cpu",
            "--prompt",
            "The",
            "--json",
        ];
        args.extend(flags.split_whitespace());
        run(dir, &args).ok().json()
    };
    let v = json("--seed 5 --max-tokens 20 --temperature 1.5 --top-k 0 --top-p 1");
    assert_eq!(v["prompt"], "The");
    assert!(
        v["text"].is_string() && v["finish_reason"].is_string(),
        "{v}"
    );
    assert!(v["load_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{v}");
    let stats = &v["stats"];
    for key in [
        "prompt_tokens",
        "generated_tokens",
        "first_token_ms",
        "tokens_per_second",
        "context_used",
        "context_size",
    ] {
        assert!(stats[key].is_number(), "{key} in {v}");
    }
    let same = |a: &Value, b: &Value| a["text"] == b["text"];
    let again = json("--seed 5 --max-tokens 20 --temperature 1.5 --top-k 0 --top-p 1");
    assert!(same(&v, &again));
    let other = json("--seed 6 --max-tokens 20 --temperature 1.5 --top-k 0 --top-p 1");
    assert!(!same(&v, &other), "{v} {other}");
    // One candidate is greedy, whatever the temperature.
    let greedy = json("--temperature 0 --max-tokens 20");
    for one in ["--top-k 1", "--top-p 0.000001"] {
        let flags =
            format!("{one} --temperature 3 --repetition-penalty 1 --max-tokens 20 --seed 9");
        assert!(same(&greedy, &json(&flags)), "{one}");
    }
    // Without --json the same text is streamed.
    let args = [
        "generate",
        "--model",
        "model.1bit",
        "--device",
        "cpu",
        "--prompt",
        "The",
        "--temperature",
        "0",
        "--max-tokens",
        "20",
    ];
    let streamed = run(dir, &args).ok().stdout;
    assert_eq!(
        streamed.trim_end_matches('\n'),
        greedy["text"].as_str().unwrap().trim_end_matches('\n')
    );
    // A stop text ends the reply before itself.
    let text = greedy["text"].as_str().unwrap();
    let stop = &text[text.len() / 2..][..3];
    let args = [
        "generate",
        "--model",
        "model.1bit",
        "--device",
        "cpu",
        "--prompt",
        "The",
        "--temperature",
        "0",
        "--max-tokens",
        "20",
        "--stop",
        stop,
        "--stop",
        "never said",
        "--json",
    ];
    let stopped = run(dir, &args).ok().json();
    assert_eq!(
        stopped["text"].as_str().unwrap(),
        text.split(stop).next().unwrap()
    );
    assert_eq!(stopped["finish_reason"], "end");
    assert_eq!(
        json("--temperature 0 --max-tokens 2")["finish_reason"],
        "length"
    );
    // The context of 64 ends the reply where nothing else does.
    let full = json("--temperature 0 --max-tokens 1000");
    assert!(
        ["context", "end"].contains(&full["finish_reason"].as_str().unwrap()),
        "{full}"
    );
    assert!(full["stats"]["context_used"].as_u64() <= full["stats"]["context_size"].as_u64());
    // A prompt may begin with a dash.
    let args = [
        "generate",
        "--model",
        "model.1bit",
        "--device",
        "cpu",
        "--prompt",
        "- one",
        "--max-tokens",
        "1",
        "--json",
    ];
    assert_eq!(run(dir, &args).ok().json()["prompt"], "- one");
    // Nothing to continue is the beginning of a document.
    let args = [
        "generate",
        "--model",
        "model.1bit",
        "--device",
        "cpu",
        "--prompt",
        "",
        "--max-tokens",
        "4",
        "--json",
    ];
    assert_eq!(run(dir, &args).ok().json()["stats"]["prompt_tokens"], 1);
}

/// The one tensor of a safetensors file.
/// A text has the form that is asked for, from a model that knows nothing of it.
#[test]
fn texts_are_held_to_their_form() {
    let dir = workplace();
    let schema = r#"{"type": "object", "properties": {"age": {"type": "integer", "minimum": 1, "maximum": 99}},
        "required": ["age"], "additionalProperties": false}"#;
    std::fs::write(dir.path().join("schema.json"), schema).unwrap();
    std::fs::write(
        dir.path().join("sum.lark"),
        "start: /[1-9]/ \" + \" /[1-9]/\n",
    )
    .unwrap();
    let bad =
        r#"{"type": "object", "properties": {"tags": {"type": "array", "uniqueItems": true}}}"#;
    std::fs::write(dir.path().join("bad.json"), bad).unwrap();
    let model = fixture().join("model.1bit").display().to_string();
    let generate = |flags: &[&str]| {
        let mut args = vec![
            "generate", "--model", &model, "--device", "cpu", "--prompt", "The cat",
        ];
        args.extend(["--temperature", "0", "--repetition-penalty", "1", "--json"]);
        args.extend(flags);
        run(dir.path(), &args)
    };
    let text = |flags: &[&str]| {
        let told = generate(flags).ok().json();
        assert_eq!(told["finish_reason"], "end", "{told}");
        told["text"].as_str().unwrap().to_owned()
    };
    let value: Value = serde_json::from_str(&text(&["--json-schema", "schema.json"])).unwrap();
    assert!(
        (1..=99).contains(&value["age"].as_i64().unwrap()),
        "{value}"
    );
    assert!(["yes", "no"].contains(&text(&["--regex", "yes|no"]).as_str()));
    let sum = text(&["--grammar", "sum.lark"]);
    assert!(sum.len() == 5 && sum.contains(" + "), "{sum}");
    let begun = generate(&["--json-object", "--max-tokens", "2"]).ok();
    assert!(begun.json()["text"].as_str().unwrap().starts_with('{'));

    generate(&["--json-schema", "bad.json"]).fails(&["#/properties/tags", "uniqueItems"]);
    std::fs::write(dir.path().join("half.json"), "{").unwrap();
    generate(&["--json-schema", "half.json"]).fails(&["--json-schema half.json: it is not JSON"]);
    generate(&["--regex", "(a"]).fails(&["regular expression"]);
    generate(&["--regex", "a", "--json-object"]).fails(&["--regex", "--json-object"]);
    generate(&["--grammar", "none.lark"]).fails(&["none.lark"]);
}

fn logits(path: &Path) -> (Vec<usize>, Vec<f32>) {
    let bytes = std::fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.names(), ["logits"]);
    let view = file.tensor("logits").unwrap();
    assert_eq!(view.dtype(), safetensors::Dtype::F32);
    let values = view
        .data()
        .chunks(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()));
    (view.shape().to_vec(), values.collect())
}

#[test]
fn logits_have_a_row_per_token_and_are_the_same_from_every_form() {
    let dir = workplace();
    let d = dir.path();
    let get = |model: &Path, ids: &str, name: &str| {
        let model = model.display().to_string();
        run(
            d,
            &[
                "logits", "--model", &model, "--ids", ids, "--output", name, "--device", "cpu",
            ],
        )
        .ok();
        logits(&d.join(name))
    };
    let file = get(
        &fixture().join("model.1bit"),
        "0,70,71,72,105",
        "a.safetensors",
    );
    let vocab = file.1.len() / 5;
    assert_eq!(file.0, [5, vocab]);
    assert!(vocab > 261 && vocab <= 300);
    assert!(file.1.iter().all(|v| v.is_finite()));
    let rows: Vec<&[f32]> = file.1.chunks(vocab).collect();
    assert_ne!(rows[3], rows[4]);
    assert_eq!(
        file,
        get(&fixture().join("run"), "0,70,71,72,105", "b.safetensors")
    );
    // A row depends on what came before it and on nothing after: rows computed one by one agree
    // with rows computed together.
    let first = get(&fixture().join("model.1bit"), "0,70", "c.safetensors");
    for (a, b) in first.1.iter().zip(&file.1) {
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
}

#[test]
fn a_chat_takes_turns() {
    let dir = fixture();
    let args = [
        "chat",
        "--model",
        "model.1bit",
        "--device",
        "cpu",
        "--max-tokens",
        "8",
        "--temperature",
        "0",
    ];
    let prompts = |out: &str| out.matches("> ").count();
    // /reset brings the first answer back; an empty line is no message; /exit leaves before the
    // rest is read.
    let out = typed(dir, &args, b"The cat\n\n/reset\nThe cat\n/exit\nnot read\n").ok();
    assert_eq!(prompts(&out.stdout), 5, "{}", out.stdout);
    assert!(out.stdout.starts_with("Tiny "), "{}", out.stdout);
    let parts: Vec<&str> = out.stdout.split("> ").collect();
    assert_eq!(parts[1], parts[4], "{parts:?}");
    // The end of the input leaves too.
    let out = typed(dir, &args, b"The cat").ok();
    assert_eq!(prompts(&out.stdout), 2, "{}", out.stdout);
    typed(dir, &args, b"").ok();
    // A system prompt, and a conversation that outgrows the context: the message is refused and the
    // chat goes on.
    let long = format!(
        "{}\n/reset\nThe cat\n",
        sentences(400, 9).replace('\n', " ")
    );
    let out = typed(dir, &args, long.as_bytes()).ok();
    assert!(out.stderr.contains("context of 64"), "{}", out.stderr);
    assert_eq!(out.stdout.split("> ").nth(3), Some(parts[1]));
    let with_system = [&args[..], &["--system", "Be brief."]].concat();
    typed(dir, &with_system, b"Hello\n").ok();
    // A model without a template says what to use instead.
    let work = workplace();
    line(
        work.path(),
        "train --config config.json --data-dir tokens --tokenizer tok.json --output-dir out --max-steps 1 --batch-size 1 --device cpu",
    )
    .ok();
    line(work.path(), "chat --model out --device cpu").fails(&["no chat template", "generate"]);
}

#[test]
fn exports_differ_in_size_and_carry_their_names() {
    let dir = workplace();
    let d = dir.path();
    let run_dir = fixture().join("run").display().to_string();
    let export = |mode: &str| {
        let file = format!("{mode}.1bit");
        let args = [
            "export",
            "--model-dir",
            &run_dir,
            "--output",
            &file,
            "--pack-mode",
            mode,
            "--name",
            "A Name",
            "--description",
            "What it is.",
            "--license",
            "CC0-1.0",
        ];
        run(d, &args).ok();
        std::fs::metadata(d.join(&file)).unwrap().len()
    };
    let (ternary, base3, dense) = (export("ternary"), export("base3"), export("dense"));
    assert!(
        base3 < ternary && ternary < dense,
        "{base3} {ternary} {dense}"
    );
    assert!(!d.join("ternary.1bit.part").exists());
    let v = line(d, "inspect base3.1bit --json").ok().json();
    assert_eq!(v["name"], "A Name");
    assert_eq!(v["description"], "What it is.");
    assert_eq!(v["license"], "CC0-1.0");
    assert_eq!(v["bytes"], base3);
    assert_eq!(v["config"]["hidden_size"], 48);
    assert_eq!(v["training"]["step"], 60);
    assert_eq!(v["chat_template"], TEMPLATE);
    let tensors = v["tensors"].as_array().unwrap();
    let encoding = |v: &Value, name: &str| {
        let all = v["tensors"].as_array().unwrap();
        all.iter().find(|t| t["name"] == name).unwrap()["encoding"].clone()
    };
    let q = "model.layers.0.self_attn.q_proj.weight";
    assert_eq!(encoding(&v, q), "ternary_base3");
    assert_eq!(encoding(&v, "model.embed_tokens.weight"), "f16");
    let sum: u64 = tensors.iter().map(|t| t["length"].as_u64().unwrap()).sum();
    assert!(sum < base3);
    let t = line(d, "inspect ternary.1bit --json").ok().json();
    assert_eq!(encoding(&t, q), "ternary2");
    let f = line(d, "inspect dense.1bit --json").ok().json();
    assert_eq!(encoding(&f, q), "f16");
    assert_eq!(f["config"]["layer_bit_map"]["layer_modes"][0], "f16");
    // For people: the names, and every tensor.
    let text = line(d, "inspect ternary.1bit").ok().stdout;
    assert!(
        text.contains("A Name") && text.contains("What it is.") && text.contains("CC0-1.0"),
        "{text}"
    );
    for t in tensors {
        assert!(text.contains(t["name"].as_str().unwrap()), "{t} in {text}");
    }
    // A dense file is float arithmetic over the same weights: it can be read and speaks.
    assert!(!greedy(d, "dense.1bit", PROMPTS[0]).is_empty());
    // Exporting again gives the same bytes.
    let before = std::fs::read(d.join("base3.1bit")).unwrap();
    export("base3");
    assert!(before == std::fs::read(d.join("base3.1bit")).unwrap());
}

/// The shipped model ends its text after random tokens, and the bench ended with it.
#[test]
fn a_bench_of_several_replies_goes_on_behind_their_ends() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web/models/stories.1bit");
    let shipped = shipped.display().to_string();
    let out = run(
        fixture(),
        &[
            "bench",
            "--model",
            &shipped,
            "--parallel",
            "1,3",
            "--tokens",
            "24",
            "--repeat",
            "1",
            "--device",
            "cpu",
            "--json",
        ],
    );
    let figures = out.ok().json();
    let requests = figures.as_array().unwrap().iter().map(|f| &f["requests"]);
    assert_eq!(requests.collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn a_bench_measures_each_thread_count() {
    let dir = workplace();
    let v = line(
        dir.path(),
        "bench --synthetic 5m --json --tokens 4 --repeat 1 --device cpu --prefill 16,300,9000 \
         --context 0,2048,9000",
    )
    .ok()
    .json();
    let rows = v.as_array().unwrap();
    assert_eq!(rows[0]["threads"], 1);
    for row in rows {
        for key in ["weight_bytes", "read_bandwidth_gb_s"] {
            assert!(row[key].as_f64().is_some_and(|v| v > 0.0), "{key} in {row}");
        }
        for (what, lengths) in [("prefill", [16, 300]), ("decode", [0, 2048])] {
            let speeds = row[what].as_array().unwrap();
            assert_eq!(speeds.len(), 2, "{row}");
            for (speed, tokens) in speeds.iter().zip(lengths) {
                assert_eq!(speed["tokens"], tokens, "{row}");
                let speed = speed["tokens_per_second"].as_f64();
                assert!(speed.is_some_and(|v| v > 0.0), "{row}");
            }
        }
    }
    let file = fixture().join("model.1bit").display().to_string();
    let args = [
        "bench", "--model", &file, "--tokens", "1000", "--repeat", "1",
    ];
    let text = run(dir.path(), &args).ok().stdout;
    assert!(text.contains("decode @0"), "{text}");
    // None of these fits.
    let args = [
        "bench",
        "--model",
        &file,
        "--prefill",
        "100000",
        "--context",
        "100000",
    ];
    run(dir.path(), &args).fails(&["--prefill 100000", "context of"]);
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_is_no_error() {
    let file = fixture().join("model.1bit").display().to_string();
    for args in [
        &["inspect", &file, "--json"][..],
        &[
            "generate",
            "--model",
            &file,
            "--device",
            "cpu",
            "--prompt",
            "The",
            "--max-tokens",
            "60",
        ],
    ] {
        let mut child = crate::common::start(fixture(), args);
        drop(child.stdout.take());
        // Panic text on standard error fails inside.
        crate::common::end(child);
    }
}

#[test]
fn questions_are_scored_file_by_file() {
    let dir = workplace();
    let model = fixture().join("model.1bit");
    let model = model.display();
    std::fs::create_dir(dir.path().join("tasks")).unwrap();
    let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    put(
        "tasks/pick.jsonl",
        "{\"query\": \"the cat\", \"choices\": [\"sat\", \"zzqx vvk\"], \"gold\": 0}\n\
         {\"query\": \"the cat\", \"choices\": [\"sat\", \"zzqx vvk\"], \"gold\": 1}\n",
    );
    put("tasks/words.jsonl", "{\"text\": \"the dog ran home\"}\n");
    let all = line(
        dir.path(),
        &format!("eval --model {model} --tasks tasks --device cpu --json"),
    )
    .ok();
    let results = &all.json()["results"];
    let pick = &results["pick"];
    assert_eq!(pick["questions"], 2);
    assert_eq!(
        (pick["acc"].as_f64(), pick["acc_stderr"].as_f64()),
        (Some(0.5), Some(0.5))
    );
    assert!(pick["acc_norm"].is_f64() && pick["perplexity"].is_null());
    let words = &results["words"];
    assert!(words["perplexity"].as_f64().unwrap() > 1.0 && words["acc_norm"].is_null());
    let table = line(
        dir.path(),
        &format!("eval --model {model} --tasks tasks/pick.jsonl --limit 1"),
    )
    .ok();
    assert!(
        table.stdout.contains("acc_norm") && table.stdout.contains("1.0000"),
        "{}",
        table.stdout
    );
    put("bad.jsonl", "{\"text\": \"one two\"}\n{\"text\": 3}\n");
    line(
        dir.path(),
        &format!("eval --model {model} --tasks bad.jsonl"),
    )
    .fails(&["bad.jsonl: line 2", "`text` is 3"]);
    line(dir.path(), &format!("eval --model {model}")).fails(&["--data"]);
}

#[test]
fn guesses_change_no_text() {
    let dir = workplace();
    let model = fixture().join("model.1bit");
    let config = std::fs::read_to_string(fixture().join("config.json")).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    let layers = config["num_layers"].as_u64().unwrap();
    let coarse = serde_json::json!({"embedding": "f16", "lm_head": "f16",
        "layer_modes": vec!["binary"; layers as usize]});
    std::fs::write(dir.path().join("coarse.json"), coarse.to_string()).unwrap();
    for sampling in ["--temperature 0", "--temperature 0.8 --seed 5"] {
        let ask = |draft: &str| {
            let command = format!(
                "generate --model {} --prompt one --max-tokens 60 --kv f32 --device cpu {sampling} --json {draft}",
                model.display()
            );
            line(dir.path(), &command).ok().json()
        };
        let plain = ask("");
        for draft in ["lookup", &model.display().to_string(), "coarse.json"] {
            let with = ask(&format!("--draft {draft}"));
            assert_eq!(with["text"], plain["text"], "{draft}");
            assert_eq!(with["finish_reason"], plain["finish_reason"]);
            let stats = &with["stats"];
            assert_eq!(
                stats["generated_tokens"],
                plain["stats"]["generated_tokens"]
            );
            assert!(stats["accepted_tokens"].as_u64() <= stats["drafted_tokens"].as_u64());
            if draft.ends_with(".1bit") {
                assert!(stats["drafted_tokens"].as_u64() > Some(0), "{with}");
            }
        }
    }
    line(
        dir.path(),
        &format!(
            "generate --model {} --prompt x --draft none.1bit",
            model.display()
        ),
    )
    .fails(&["none.1bit does not exist"]);
}
