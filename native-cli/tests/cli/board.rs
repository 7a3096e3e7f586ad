//! `onebit export --emit-c-header`: sizes, refusals, and the header's own example compiled and run.

use std::path::Path;
use std::process::Command;

use crate::common::{fixture, line, run, workplace};

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../web/models/stories.1bit");

/// The number a header defines.
fn defined(header: &str, name: &str) -> u64 {
    let define = format!("#define {name} ");
    let rest = header.split(&define).nth(1);
    let rest = rest.unwrap_or_else(|| panic!("no {name}"));
    let value = rest.lines().next().unwrap();
    value.trim_end_matches('u').parse().unwrap()
}

#[test]
fn a_header_says_what_it_needs() {
    let dir = workplace();
    let d = dir.path();
    let export = |flags: &str| {
        let out = line(
            d,
            &format!(
                "export --model {SHIPPED} --output my-stories.v1.1bit --emit-c-header {flags}"
            ),
        )
        .ok();
        let header = std::fs::read_to_string(d.join("my-stories.v1.h")).unwrap();
        (out, header)
    };
    let (whole, _) = export("--json");
    let (small, header) = export("--c-context 64 --c-kv f16 --json");
    let sizes = &small.json()["c_header"]["sizes"];
    // Keys and values · 6 layers · 64 tokens · 256 · 2 bytes.
    assert_eq!(sizes["cache_bytes"], 393_216);
    let whole = &whole.json()["c_header"]["sizes"];
    assert_eq!(whole["cache_bytes"], 393_216 * 2 * 6);
    for (define, key) in [
        ("MY_STORIES_V1_BUFFER_BYTES", "ram_bytes"),
        ("MY_STORIES_V1_FLASH_BYTES", "flash_bytes"),
        ("MY_STORIES_V1_CONTEXT", "context"),
    ] {
        assert_eq!(defined(&header, define), sizes[key].as_u64().unwrap());
    }
    assert!(
        small.stderr.contains("flash") && small.stderr.contains("RAM"),
        "{}",
        small.stderr
    );
    // The model beside it is the same file.
    let copy = std::fs::read(d.join("my-stories.v1.1bit")).unwrap();
    assert!(copy == std::fs::read(SHIPPED).unwrap());
    // 1.6 bits a weight stay so in flash.
    let folder = fixture().join("run").display().to_string();
    let flash = |mode: &str| {
        let args = format!(
            "export --model-dir {folder} --output t.1bit --pack-mode {mode} --emit-c-header --json"
        );
        line(d, &args).ok().json()["c_header"]["sizes"]["flash_bytes"].as_u64()
    };
    assert!(flash("base3") < flash("ternary") && flash("ternary") < flash("dense"));
}

#[test]
fn header_options_are_checked() {
    let dir = workplace();
    let d = dir.path();
    let export = |flags: &str| {
        line(
            d,
            &format!("export --model {SHIPPED} --output s.1bit {flags}"),
        )
    };
    export("--c-context 64").fails(&["--emit-c-header"]);
    export("--c-kv f16").fails(&["--emit-c-header"]);
    export("--c-prompt Hello").fails(&["--emit-c-header"]);
    export("--emit-c-header --c-kv f8").fails(&["f8", "f16"]);
    export("--emit-c-header --c-context 0").fails(&["context of 0", "384"]);
    export("--emit-c-header --c-context 385").fails(&["context of 385", "384"]);
    // A prompt that the program could not read would print nothing, the default one included.
    let long = ["example's prompt", "tokens long", "context", "that fits"];
    export("--emit-c-header --c-context 4 --c-prompt a,b,c,d,e,f,g,h,i").fails(&long);
    export("--emit-c-header --c-context 1").fails(&[&long[..], &["Once upon a time"]].concat());
    // Names that end the #include in a program.
    for (name, what) in [
        ("a\"b", "quote"),
        ("a\\b", "backslash"),
        ("a\nb", "control"),
    ] {
        let output = format!("{name}.1bit");
        let args = [
            "export",
            "--model",
            SHIPPED,
            "--output",
            &output,
            "--emit-c-header",
        ];
        run(d, &args).fails(&["a C program cannot include", what, "another name"]);
        assert!(!d.join(output).exists() && !d.join(format!("{name}.h")).exists());
    }
    export("--pack-mode base3").fails(&["stories.1bit", "--pack-mode", "checkpoint"]);
    assert!(!d.join("s.1bit").exists() && !d.join("s.h").exists());
    std::fs::write(d.join("bad.1bit"), b"GGUF").unwrap();
    line(d, "export --model bad.1bit --output s.1bit --emit-c-header")
        .fails(&["bad.1bit", "a GGUF model"]);
    assert!(export("").ok().stdout.is_empty());
    assert!(d.join("s.1bit").exists() && !d.join("s.h").exists());
}

/// The program in the header's first lines.
fn example(header: &str) -> String {
    let lines = header.lines().filter_map(|l| l.strip_prefix(" *     "));
    lines.fold(String::new(), |text, l| text + l + "\n")
}

fn compile(d: &Path, compiler: &[&str]) {
    let out = Command::new(compiler[0])
        .args(&compiler[1..])
        .args(["-O1", "-Wall", "-Wextra", "-Werror", "-pedantic"])
        .args(["example.c", "-o", "example", "-lm"])
        .current_dir(d)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{compiler:?}:\n{errors}");
}

#[test]
fn the_example_of_a_header_speaks() {
    let compilers: [&[&str]; 2] = [&["cc", "-std=c99"], &["c++", "-x", "c++"]];
    for c in compilers {
        if Command::new(c[0]).arg("--version").output().is_err() {
            eprintln!("SKIPPED: there is no `{}` to compile the header with", c[0]);
            return;
        }
    }
    let dir = workplace();
    let d = dir.path();
    let model = fixture().join("model.1bit").display().to_string();
    // Parts of the name and the prompt are names in the header, too.
    let args = [
        "export",
        "--model",
        &model,
        "--output",
        "tiny model_v1 @TEXT@.1bit",
        "--emit-c-header",
        "--c-prompt",
        "The */ cat",
    ];
    run(d, &args).ok();
    let header = std::fs::read_to_string(d.join("tiny model_v1 @TEXT@.h")).unwrap();
    let tokenizer = std::fs::read_to_string(fixture().join("tok.json")).unwrap();
    let tokenizer = ternary::tokenizer::Tokenizer::from_json(&tokenizer).unwrap();
    let ids = tokenizer.encode("The */ cat").unwrap();
    let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
    assert!(header.contains(&format!("ids[] = {{{}}}", ids.join(", "))));
    std::fs::write(d.join("example.c"), example(&header)).unwrap();
    let mut texts = Vec::new();
    for compiler in compilers {
        compile(d, compiler);
        let out = Command::new(d.join("example")).output().unwrap();
        assert!(out.status.success());
        texts.push(String::from_utf8_lossy(&out.stdout).into_owned());
    }
    // The same seed in both languages, and words of the training text.
    assert_eq!(texts[0], texts[1]);
    assert!(
        texts[0].contains("the") && texts[0].len() > 40,
        "{}",
        texts[0]
    );
}
