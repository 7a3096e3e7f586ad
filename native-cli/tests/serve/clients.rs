//! Clients that people use: the packages `openai`, `anthropic` and `lm_eval` of PyPI, and `openai`
//! of npm. `cargo xtask setup` installs them; where they are not, the tests say so.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::common::line;
use crate::server::{Server, models};

/// Where the packages are: a folder with `venv` and `node_modules`.
fn clients() -> Option<PathBuf> {
    let given = std::env::var_os("ONEBIT_CLIENTS").map(PathBuf::from);
    let cache = || {
        let cache = std::env::var_os("XDG_CACHE_HOME").filter(|folder| !folder.is_empty());
        let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        Some(
            cache
                .map(PathBuf::from)
                .or(home)?
                .join("ternary-core/clients"),
        )
    };
    given.or_else(cache).filter(|folder| folder.is_dir())
}

/// The packages, if `there` is among them; otherwise that a test is skipped is said.
fn with(there: &str, test: &str) -> Option<PathBuf> {
    let folder = clients().filter(|folder| folder.join(there).exists());
    if folder.is_none() {
        eprintln!("SKIPPED: {test}: its packages are not there; `cargo xtask setup` installs them");
    }
    folder
}

/// A program that asks the machine itself, not a proxy.
fn direct(mut command: Command) -> Command {
    for proxy in ["http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(proxy).env_remove(proxy.to_uppercase());
    }
    command
}

/// Run a script of `tests/clients` against a server with both scripted models.
fn script(name: &str, program: impl FnOnce(&Path) -> Command, there: &str) {
    let Some(folder) = with(there, name) else {
        return;
    };
    let server = Server::start(
        models(),
        &["--model", "m=m.1bit", "--model", "caller=caller.1bit"],
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(name);
    let mut command = direct(program(&folder));
    command.arg(path).arg(format!("http://{}", server.address));
    let out = command.output().unwrap();
    assert!(
        out.status.success(),
        "{name}: {}{}\n{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
        server.said()
    );
}

fn python(folder: &Path) -> Command {
    Command::new(folder.join("venv/bin/python"))
}

#[test]
fn openai_of_python() {
    script("openai_client.py", python, "venv/bin/python");
}

#[test]
fn anthropic_of_python() {
    script("anthropic_client.py", python, "venv/bin/python");
}

#[test]
fn openai_of_npm() {
    let node = |folder: &Path| {
        let mut node = Command::new("node");
        node.env("NODE_MODULES", folder.join("node_modules"));
        node
    };
    script("openai_client.mjs", node, "node_modules/openai");
}

/// Where the harness finds questions of two kinds, below `dir`: `questions` has what
/// `onebit eval --tasks` reads, `tasks` the descriptions for the harness.
fn write_tasks(dir: &Path) {
    let choices = (0..24).map(|i| {
        let animal = ["girl", "boy", "dog", "cat", "bird"][i % 5];
        let mood = ["happy", "sad", "big", "little"][i % 4];
        let mut answers = [
            format!("{animal} who was {mood}"),
            format!("{mood} of the {animal} quickly"),
            format!("table and {animal}"),
        ];
        answers.rotate_left(i % 3);
        // The natural one, but for every fifth question.
        let gold = (3 - i % 3 + usize::from(i % 5 == 0)) % 3;
        json!({"query": "Once upon a time there was a", "choices": answers, "gold": gold})
    });
    let ends = (0..12).map(|i| {
        let animal = ["girl", "boy", "dog", "cat", "bird"][i % 5];
        let context = format!("The {animal} wanted to play. The {animal} was very ");
        let target = ["happy", "sad", "excited"][i % 3];
        json!({"context": context, "target": target})
    });
    let lines = |all: Vec<Value>| all.iter().map(|v| format!("{v}\n")).collect::<String>();
    for (task, questions, more) in [
        (
            "choices",
            lines(choices.collect()),
            "output_type: multiple_choice\ndoc_to_text: \"{{query}}\"\ndoc_to_choice: choices\n\
             doc_to_target: gold\nmetric_list: [{metric: acc}, {metric: acc_norm}]\n",
        ),
        (
            "ends",
            lines(ends.collect()),
            "output_type: loglikelihood\ndoc_to_text: \"{{context}}\"\n\
             doc_to_target: \"{{target}}\"\ntarget_delimiter: \"\"\n\
             metric_list: [{metric: perplexity}, {metric: acc}]\n",
        ),
    ] {
        let file = dir.join("questions").join(format!("{task}.jsonl"));
        let told = format!(
            "task: {task}\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {}}}}}\n\
             test_split: test\n{more}metadata: {{version: 1}}\n",
            file.display()
        );
        for (path, text) in [
            (file, questions),
            (dir.join("tasks").join(format!("{task}.yaml")), told),
        ] {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }
}

/// The file below `dir` whose name begins so.
fn beginning_with(dir: &Path, name: &str) -> Option<PathBuf> {
    std::fs::read_dir(dir).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => beginning_with(&path, name),
            false => path
                .file_name()?
                .to_str()?
                .starts_with(name)
                .then_some(path),
        }
    })
}

/// lm-evaluation-harness measures a served model, and finds what `onebit eval --tasks` finds,
/// within 1e-4.
#[test]
fn lm_evaluation_harness() {
    let Some(folder) = with("venv/bin/lm_eval", "lm_evaluation_harness") else {
        return;
    };
    let place = tempfile::TempDir::new().unwrap();
    let dir = place.path();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web/models/stories.1bit");
    std::fs::copy(shipped, dir.join("stories.1bit")).unwrap();
    line(
        dir,
        "export --model-dir stories.1bit --format hf --output hf",
    )
    .ok();
    write_tasks(dir);
    let server = Server::start(dir, &["--model", "stories=stories.1bit"]);
    let mut harness = direct(Command::new(folder.join("venv/bin/lm_eval")));
    let out = harness
        .current_dir(dir)
        .args(["run", "--model", "local-completions", "--tasks"])
        .args(["choices,ends", "--include_path", "tasks", "--output_path"])
        .args(["found", "--log_samples", "--model_args"])
        .arg(format!(
            "model=stories,base_url=http://{}/v1/completions,tokenizer=hf,max_length=256,\
             num_concurrent=4",
            server.address
        ))
        .envs(["HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"].map(|name| (name, "1")))
        .env("HF_HOME", dir.join("cache"))
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}{}\n{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
        server.said()
    );
    let found_in = |name: &str| {
        let path = beginning_with(&dir.join("found"), name);
        path.unwrap_or_else(|| panic!("the harness wrote no {name}…"))
    };
    let found = std::fs::read_to_string(found_in("results_")).unwrap();
    let found: Value = serde_json::from_str(&found).unwrap();
    // The questions themselves, and the very requests that the harness made of them.
    std::fs::create_dir(dir.join("asked")).unwrap();
    for task in ["choices", "ends"] {
        let asked = dir.join("asked").join(format!("{task}.jsonl"));
        std::fs::copy(found_in(&format!("samples_{task}_")), asked).unwrap();
    }
    for tasks in ["questions", "asked"] {
        let eval = format!("eval --model stories.1bit --tasks {tasks} --json --device cpu");
        let own = line(dir, &eval).ok().json();
        for (task, measure) in [
            ("choices", "acc"),
            ("choices", "acc_norm"),
            ("ends", "acc"),
            ("ends", "perplexity"),
        ] {
            let theirs = &found["results"][task][format!("{measure},none")];
            let ours = &own["results"][task][measure];
            let pair = theirs.as_f64().zip(ours.as_f64());
            assert!(
                pair.is_some_and(|(theirs, ours)| (theirs - ours).abs() <= 1e-4 * theirs.max(1.0)),
                "{tasks}, {task}, {measure}: the harness {theirs}, onebit eval {ours}"
            );
        }
    }
}
