//! `manual` and `completions`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use tempfile::tempdir;

use crate::common::run;

fn pages(folder: &Path) -> BTreeMap<String, String> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            // Windows checks texts out with its own line ends.
            let text = fs::read_to_string(entry.path())
                .unwrap()
                .replace("\r\n", "\n");
            (entry.file_name().into_string().unwrap(), text)
        })
        .collect()
}

#[test]
fn the_books_command_pages_say_what_the_commands_say() {
    let dir = tempdir().unwrap();
    run(
        dir.path(),
        &["manual", "--format", "markdown", "--output-dir", "pages"],
    )
    .ok();
    let written = pages(&dir.path().join("pages"));
    let committed = pages(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/commands"));
    assert_eq!(
        written.keys().collect::<Vec<_>>(),
        committed.keys().collect::<Vec<_>>(),
        "docs/commands/ has other pages: run `cargo xtask docs`"
    );
    for (name, text) in &written {
        assert!(
            committed[name] == *text,
            "docs/commands/{name} is out of date: run `cargo xtask docs`"
        );
    }
}

#[test]
fn the_committed_description_of_the_server_is_the_server_s() {
    let dir = tempdir().unwrap();
    let arguments = ["manual", "--format", "openapi", "--output-dir", "written"];
    run(dir.path(), &arguments).ok();
    let read = |path: &Path| fs::read_to_string(path).unwrap().replace("\r\n", "\n");
    let written = read(&dir.path().join("written/openapi.json"));
    let committed = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json"));
    assert!(
        written == committed,
        "docs/openapi.json is out of date: run `cargo xtask types`"
    );
}

#[test]
fn man_pages_name_their_commands() {
    let dir = tempdir().unwrap();
    run(dir.path(), &["manual", "--output-dir", "man"]).ok();
    let written = pages(&dir.path().join("man"));
    assert!(written["onebit.1"].contains("onebit\\-train(1)"));
    assert!(written["onebit-train.1"].contains("\\-\\-max\\-steps"));
}

#[test]
fn completions_know_commands_and_flags() {
    let dir = tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = run(dir.path(), &["completions", shell]).ok().stdout;
        assert!(
            script.contains("finetune") && script.contains("max-steps"),
            "{shell}"
        );
    }
}
