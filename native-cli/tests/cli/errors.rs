//! Bad input: never a panic, always a message that says what was wrong and what to do. Panic text
//! fails in `common`.

use crate::common::{CONFIG, fixture, line, run, workplace};

#[test]
fn missing_and_foreign_files_are_named() {
    let dir = workplace();
    let d = dir.path();
    std::fs::write(d.join("gguf.1bit"), b"GGUF and more than eight bytes").unwrap();
    std::fs::write(d.join("empty.1bit"), b"").unwrap();
    std::fs::create_dir(d.join("hollow")).unwrap();
    for command in [
        "eval --data valid.txt",
        "generate --prompt x",
        "logits --ids 1 --output l",
        "chat",
        "bench",
    ] {
        for (model, words) in [
            (
                "gone.1bit",
                [
                    "gone.1bit does not exist",
                    ".1bit file or a checkpoint folder",
                ],
            ),
            ("gguf.1bit", ["gguf.1bit", "not a .1bit file"]),
            ("empty.1bit", ["empty.1bit", "it is empty"]),
            ("hollow", ["hollow", "not a checkpoint folder"]),
        ] {
            line(d, &format!("{command} --model {model} --device cpu")).fails(&words);
        }
    }
    line(d, "inspect gone.1bit").fails(&["gone.1bit"]);
    line(d, "inspect gguf.1bit").fails(&["gguf.1bit", "a GGUF model"]);
    line(d, "inspect hollow").fails(&["hollow", "export"]);
    line(d, "export --model-dir hollow --output m.1bit")
        .fails(&["hollow", "not a checkpoint folder"]);
    line(d, "export --model-dir gone --output m.1bit").fails(&["gone"]);
    line(
        d,
        "tokenize --data-dir gone --tokenizer tok.json --output x.tokens",
    )
    .fails(&["gone"]);
    line(
        d,
        "tokenize --data-dir hollow --tokenizer tok.json --output x.tokens",
    )
    .fails(&["hollow", "no text files"]);
    line(
        d,
        "tokenize --data-dir valid.txt --tokenizer gone.json --output x.tokens",
    )
    .fails(&["gone.json", "--train-vocab"]);
    line(
        d,
        "tokenize --data-dir valid.txt --tokenizer config.json --output x.tokens",
    )
    .fails(&["config.json", "not a tokenizer.json"]);
    line(
        d,
        "tokenize --data-dir valid.txt --tokenizer new.json --train-vocab 100 --output x.tokens",
    )
    .fails(&["100", "261"]);
    assert!(!d.join("x.tokens").exists() && !d.join("new.json").exists());
    let model = fixture().join("model.1bit").display().to_string();
    run(
        d,
        &[
            "eval", "--model", &model, "--data", "gone.txt", "--device", "cpu",
        ],
    )
    .fails(&["gone.txt"]);
    run(
        d,
        &[
            "logits", "--model", &model, "--ids", "1", "--output", "no/dir/l", "--device", "cpu",
        ],
    )
    .fails(&["no/dir/l"]);
    let folder = fixture().join("run").display().to_string();
    run(
        d,
        &[
            "export",
            "--model-dir",
            &folder,
            "--output",
            "no/dir/m.1bit",
        ],
    )
    .fails(&["no/dir/m.1bit"]);
    run(d, &["export", "--model-dir", &folder, "--output", "hollow"]).fails(&["hollow"]);
    assert!(!d.join("hollow.1bit.part").exists());
    std::fs::write(d.join("bad.jinja"), "{% for %}").unwrap();
    line(d, "train --config config.json --data-dir tokens --tokenizer tok.json --output-dir out --chat-template bad.jinja --device cpu")
        .fails(&["bad.jinja", "chat template"]);
}

/// A folder of Hugging Face's was told of as a config with an unknown field.
#[test]
fn a_folder_of_hugging_face_is_sent_to_import() {
    let dir = workplace();
    let d = dir.path();
    std::fs::create_dir(d.join("llama")).unwrap();
    let config =
        r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32}"#;
    std::fs::write(d.join("llama/config.json"), config).unwrap();
    std::fs::write(d.join("llama/model.safetensors"), b"").unwrap();
    for command in [
        "generate --prompt x --device cpu --model llama",
        "finetune --data-dir valid.txt --output-dir out --device cpu --model llama",
        "export --output m.1bit --model-dir llama",
        "template --user x --model llama",
    ] {
        line(d, command).fails(&["`onebit import --input llama --output MODEL.1bit`"]);
    }
    // Of a checkpoint whose config is at fault the file is named.
    std::fs::write(d.join("llama/config.json"), r#"{"hiden_size": 32}"#).unwrap();
    line(d, "export --output m.1bit --model-dir llama")
        .fails(&["llama/config.json: ", "did you mean `hidden_size`?"]);
    line(d, "import --input gone --output m.1bit").fails(&["gone does not exist", "--input takes"]);
}

/// Of two flags that stand for each other only one was asked for.
#[test]
fn what_is_missing_is_named_with_what_may_stand_for_it() {
    let dir = workplace();
    let d = dir.path();
    for (command, words) in [
        ("eval --model m", ["--data <PATH>", "--tasks <PATH>"]),
        (
            "generate --model m",
            ["--prompt <TEXT>", "--prompt-file <FILE>"],
        ),
        (
            "search --checkpoint m --val-data v --output r.json",
            ["--min-perplexity-max <P>", "--max-size-mb <S>"],
        ),
        (
            "tokenize --data-dir valid.txt --tokenizer tok.json",
            ["--out-dir <DIR>", "--output <FILE>"],
        ),
        ("data valid.txt", ["--model <PATH>", "--tokenizer <FILE>"]),
        ("template --model m", ["--messages <FILE>", "--user <TEXT>"]),
    ] {
        line(d, command).fails(&words);
    }
}

#[test]
fn damaged_files_are_refused() {
    let dir = workplace();
    let d = dir.path();
    let good = std::fs::read(fixture().join("model.1bit")).unwrap();
    let generate = |name: &str, bytes: &[u8]| {
        std::fs::write(d.join(name), bytes).unwrap();
        line(
            d,
            &format!("generate --model {name} --prompt x --device cpu"),
        )
    };
    for keep in [7, 40, 64, 1000, good.len() / 2, good.len() - 1] {
        generate("short.1bit", &good[..keep]).fails(&["short.1bit"]);
    }
    generate("short.1bit", &good[..good.len() - 1]).fails(&["ends too early"]);
    generate("long.1bit", &[&good[..], b"more"].concat()).fails(&["long.1bit"]);
    let mut flipped = good.clone();
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    generate("flipped.1bit", &flipped).fails(&["damaged", "again"]);
    let mut future = good.clone();
    future[8] = 99;
    generate("future.1bit", &future).fails(&["version 99", "versions 1 to"]);
    // Token files.
    let tokens = std::fs::read(d.join("tokens/b.tokens")).unwrap();
    let train = |bytes: &[u8]| {
        std::fs::write(d.join("tokens/b.tokens"), bytes).unwrap();
        line(
            d,
            "train --config config.json --data-dir tokens --tokenizer tok.json --output-dir out --device cpu",
        )
    };
    train(&tokens[..tokens.len() - 3]).fails(&["b.tokens", "truncated or damaged"]);
    train(&tokens[..10]).fails(&["b.tokens", "header"]);
    train(b"").fails(&["b.tokens"]);
    train(&[b"12345678", &tokens[8..]].concat()).fails(&["b.tokens", "magic"]);
    let mut flipped = tokens.clone();
    flipped[100] ^= 1;
    train(&flipped).fails(&["b.tokens", "checksum"]);
    // A checkpoint folder.
    let run_dir = crate::common::newest(&fixture().join("run"));
    crate::common::copy_dir(&run_dir, &d.join("ckpt"));
    let model = std::fs::read(d.join("ckpt/model.safetensors")).unwrap();
    std::fs::write(d.join("ckpt/model.safetensors"), &model[..model.len() / 2]).unwrap();
    line(d, "export --model-dir ckpt --output m.1bit").fails(&["model.safetensors"]);
    std::fs::remove_file(d.join("ckpt/model.safetensors")).unwrap();
    line(d, "export --model-dir ckpt --output m.1bit").fails(&["model.safetensors"]);
    assert!(!d.join("m.1bit").exists() && !d.join("out/metrics.jsonl").exists());
}

#[test]
fn configs_that_cannot_be_are_refused() {
    let dir = workplace();
    let d = dir.path();
    let train = |config: &str| {
        std::fs::write(d.join("c.json"), config).unwrap();
        line(
            d,
            "train --config c.json --data-dir tokens --tokenizer tok.json --output-dir out --max-steps 1 --batch-size 1 --device cpu",
        )
    };
    let with = |from: &str, to: &str| {
        assert!(CONFIG.contains(from), "{from}");
        train(&CONFIG.replace(from, to))
    };
    // What a flag sets is told of as the flag's.
    let set = |setting: &str| {
        std::fs::write(d.join("c.json"), CONFIG).unwrap();
        line(
            d,
            &format!(
                "train --config c.json --data-dir tokens --tokenizer tok.json --output-dir out --max-steps 1 --device cpu --set {setting}"
            ),
        )
    };
    set("lr=abc").fails(&["--set lr=\"abc\"", "`lr` is \"abc\"", "expected a number"]);
    set("num_heads=7").fails(&["--set num_heads=7", "num_heads 7"]);
    set("training.learning_rate=1").fails(&["--set", "`learning_rate`", "did you mean `lr`?"]);
    set("training.lr=20").fails(&["--set lr=20", "lr is 20"]);
    with("\"hidden_size\"", "\"hiden_size\"").fails(&[
        "c.json",
        "`hiden_size`",
        "did you mean `hidden_size`",
    ]);
    with("\"max_steps\"", "\"max_step\"").fails(&[
        "c.json",
        "`max_step`",
        "did you mean `max_steps`",
    ]);
    with("\"hidden_size\": 48", "\"hidden_size\": 50").fails(&["hidden_size 50", "num_heads 4"]);
    with("\"num_kv_heads\": 2", "\"num_kv_heads\": 3").fails(&["num_heads 4", "num_kv_heads 3"]);
    with("\"num_layers\": 2", "\"num_layers\": 0").fails(&["num_layers is 0"]);
    with("\"num_layers\": 2", "\"num_layers\": -1").fails(&["c.json"]);
    with("\"num_layers\": 2", "\"num_layers\": 16777216")
        .fails(&["num_layers is 16777216", "4096"]);
    with(
        "\"hidden_size\": 48",
        "\"hidden_size\": 131072, \"vocab_size\": 16777216",
    )
    .fails(&["c.json", "weights"]);
    with("\"use_rope\"", "\"vocab_size\": 100, \"use_rope\"")
        .fails(&["vocab_size 100", "tokenizer"]);
    with("\"tensor\"", "\"group\"").fails(&["48 columns", "weight_group_size 128"]);
    with("\"tensor\"", "\"column\"").fails(&["c.json", "column"]);
    with(
        "\"use_rope\"",
        "\"layer_bit_map\": {\"embedding\": \"f16\", \"layer_modes\": [\"ternary\"], \"lm_head\": \"f16\"}, \"use_rope\"",
    )
    .fails(&["1 layer_modes", "num_layers is 2"]);
    with(
        "\"use_rope\"",
        "\"layer_bit_map\": {\"embedding\": \"f16\", \"layer_modes\": [\"ternary\", \"quinary\"], \"lm_head\": \"f16\"}, \"use_rope\"",
    )
    .fails(&["quinary", "ternary, binary"]);
    with("\"lr\": 1e-2", "\"lr\": -1").fails(&["lr is -1"]);
    with("\"lr\":", "\"seq_len\": 65, \"lr\":").fails(&["seq_len 65", "max_seq_len 64"]);
    with("\"use_rope\"", "\"lr\": 1e-3, \"use_rope\"").fails(&[
        "c.json",
        "`lr` is a field of the training: put it into the object \"training\"",
    ]);
    with("\"lr\": 1e-2", "\"num_layers\": 2").fails(&[
        "c.json",
        "`num_layers` is a field of the model: put it beside \"training\"",
    ]);
    train("{").fails(&["c.json is no JSON"]);
    train(r#"{"training": {"lr": 1e-3, "lr": 1e-2}}"#)
        .fails(&["c.json: the field `lr` is there twice"]);
    train("[1, 2]").fails(&["c.json", "JSON object"]);
    assert!(
        !d.join("out").exists(),
        "a refused run left something behind"
    );
    // The smallest contexts there can be are no reason to fail.
    with("\"max_seq_len\": 64", "\"max_seq_len\": 1").ok();
    line(
        d,
        "logits --model out --ids 3 --output l.safetensors --device cpu",
    )
    .ok();
    line(
        d,
        "logits --model out --ids 3,4 --output l.safetensors --device cpu",
    )
    .fails(&["context holds 1"]);
    line(d, "generate --model out --prompt a --device cpu").fails(&["context of 1"]);
    line(d, "eval --model out --data valid.txt --device cpu").ok();
    line(d, "bench --model out --device cpu").fails(&["context of 1", "at least 3"]);
}

#[test]
fn data_that_does_not_fit_is_refused() {
    let dir = workplace();
    let d = dir.path();
    let train = |data: &str, more: &str| {
        line(
            d,
            &format!(
                "train --config config.json --data-dir {data} --tokenizer tok.json --output-dir out --max-steps 1 --device cpu {more}"
            ),
        )
    };
    std::fs::write(d.join("tiny.txt"), "The cat.").unwrap();
    std::fs::write(d.join("empty.txt"), "").unwrap();
    std::fs::write(d.join("latin.txt"), b"caf\xe9 au lait").unwrap();
    for small in ["tiny.txt", "empty.txt"] {
        train(small, "").fails(&["need at least", "Give more text"]);
        train("tokens", &format!("--val-data-dir {small}")).fails(&["validation", "need at least"]);
    }
    train("latin.txt", "").fails(&["latin.txt", "UTF-8", "byte 3"]);
    line(
        d,
        "tokenize --data-dir latin.txt --tokenizer tok.json --output x.tokens",
    )
    .fails(&["latin.txt", "UTF-8"]);
    let model = fixture().join("model.1bit").display().to_string();
    run(
        d,
        &[
            "eval",
            "--model",
            &model,
            "--data",
            "latin.txt",
            "--device",
            "cpu",
        ],
    )
    .fails(&["latin.txt", "UTF-8"]);
    run(
        d,
        &[
            "eval",
            "--model",
            &model,
            "--data",
            "empty.txt",
            "--device",
            "cpu",
        ],
    )
    .fails(&["too short"]);
    // Another tokenizer than the tokens were made with.
    line(
        d,
        "tokenize --data-dir valid.txt --tokenizer other.json --train-vocab 270 --output v.tokens",
    )
    .ok();
    line(d, "train --config config.json --data-dir tokens --tokenizer other.json --output-dir out --device cpu")
        .fails(&["b.tokens", "another tokenizer", "tokenize again"]);
    train("tokens", "--val-data-dir v.tokens").fails(&["v.tokens", "another tokenizer"]);
    assert!(
        !d.join("out").exists(),
        "a refused run left something behind"
    );
}

#[test]
fn flags_that_mean_nothing_are_refused() {
    let dir = fixture();
    let generate = |flags: &str| {
        line(
            dir,
            &format!("generate --model model.1bit --prompt x {flags}"),
        )
    };
    generate("--device tpu").fails(&["tpu", "auto, cpu or gpu"]);
    for (flags, words) in [
        ("--temperature -1", ["temperature", "between 0 and 100"]),
        ("--temperature nan", ["temperature", "between 0 and 100"]),
        ("--top-p 0", ["top_p", "at most 1"]),
        ("--top-k 257", ["top_k is 257", "at most 256"]),
        (
            "--repetition-penalty 0",
            ["repetition_penalty is 0", "between"],
        ),
        ("--max-tokens 0", ["max_tokens is 0", "at least 1"]),
    ] {
        generate(&format!("--device cpu {flags}")).fails(&words);
    }
    run(
        dir,
        &[
            "generate",
            "--model",
            "model.1bit",
            "--device",
            "cpu",
            "--prompt",
            &"cat ".repeat(200),
        ],
    )
    .fails(&["the prompt takes", "context of 64", "Shorten"]);
    line(
        dir,
        "logits --model model.1bit --ids 1,5000 --output no.safetensors --device cpu",
    )
    .fails(&["token 5000", "vocabulary"]);
    line(
        dir,
        "logits --model model.1bit --ids 1,x --output no.safetensors",
    )
    .fails(&["x"]);
    let many: Vec<String> = (0..65).map(|i| i.to_string()).collect();
    line(
        dir,
        &format!(
            "logits --model model.1bit --ids {} --output no.safetensors --device cpu",
            many.join(",")
        ),
    )
    .fails(&["65 tokens", "context holds 64"]);
    assert!(!dir.join("no.safetensors").exists());
    let work = workplace();
    for (flags, word) in [
        ("--lr-decay wavy", "cosine, linear, constant or two-stage"),
        ("--lr 99", "lr is 99"),
        ("--batch-size 0", "batch_size is 0"),
        ("--accumulation-steps 0", "accumulation_steps is 0"),
        ("--max-steps 0", "max_steps is 0"),
        ("--log-every 0", "log_every is 0"),
        ("--max-steps -3", "-3"),
        ("--lr -0.1", "lr is -0.1"),
        ("--no-such-flag", "no-such-flag"),
    ] {
        line(
            work.path(),
            &format!("train --config config.json --data-dir tokens --tokenizer tok.json --output-dir out --device cpu {flags}"),
        )
        .fails(&[word]);
    }
    line(dir, "bench").fails(&["--model", "--synthetic"]);
    line(dir, "no-such-command").fails(&["no-such-command"]);
    line(dir, "tokenize --data-dir corpus --tokenizer tok.json").fails(&["--out-dir"]);
    // Every command explains itself.
    for command in [
        "download", "tokenize", "train", "eval", "generate", "logits", "chat", "import", "export",
        "inspect", "plot", "bench",
    ] {
        let help = line(dir, &format!("{command} --help")).ok().stdout;
        assert!(help.contains("Example"), "{help}");
    }
}

/// Vulkan's loader is told of no driver, so that there is no GPU whatever the machine has.
#[cfg(target_os = "linux")]
#[test]
fn a_machine_without_a_gpu_says_so_and_uses_the_cpu() {
    let none = "/nonexistent/driver.json";
    let env = [("VK_ICD_FILENAMES", none), ("VK_DRIVER_FILES", none)];
    let generate = |device: &str| {
        let args = [
            "generate",
            "--model",
            "model.1bit",
            "--prompt",
            "The",
            "--max-tokens",
            "2",
            "--device",
            device,
        ];
        crate::common::run_with(fixture(), &args, env)
    };
    generate("gpu").fails(&["no usable GPU", "driver"]);
    let auto = generate("auto").ok().stderr;
    assert!(
        auto.contains("device: cpu") && auto.contains("no usable GPU"),
        "{auto}"
    );
}
