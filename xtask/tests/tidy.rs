//! The house's rules, read from the manifests and the sources: which crate may depend on which, and
//! what may stand where. Each rule has a planted violation that it must find. docs/architecture.md
//! gives the reasons.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// What each crate may depend on, from the bottom up; a crate that is missing here may not be in
/// the workspace.
const ARROWS: [(&str, &str, &[&str]); 22] = [
    ("shaders", "ternary-shaders", &[]),
    ("engine/core", "ternary-core", &[]),
    ("engine/common", "ternary-common", &["ternary-core"]),
    ("engine/model", "ternary-model", &["ternary-core"]),
    (
        "engine/backend",
        "ternary-backend",
        &[
            "ternary-core",
            "ternary-common",
            "ternary-model",
            "ternary-shaders",
        ],
    ),
    (
        "engine/formats",
        "ternary-formats",
        &["ternary-core", "ternary-common", "ternary-model"],
    ),
    ("engine/grammar", "ternary-grammar", &[]),
    (
        "engine/infer",
        "ternary-infer",
        &[
            "ternary-core",
            "ternary-common",
            "ternary-model",
            "ternary-backend",
            "ternary-formats",
            "ternary-grammar",
        ],
    ),
    (
        "engine/train",
        "ternary-train",
        &[
            "ternary-core",
            "ternary-common",
            "ternary-model",
            "ternary-backend",
            "ternary-formats",
        ],
    ),
    (
        "engine/search",
        "ternary-search",
        &[
            "ternary-core",
            "ternary-common",
            "ternary-model",
            "ternary-backend",
            "ternary-formats",
        ],
    ),
    (
        "engine/session",
        "ternary-session",
        &[
            "ternary-core",
            "ternary-common",
            "ternary-model",
            "ternary-backend",
            "ternary-formats",
            "ternary-grammar",
            "ternary-infer",
            "ternary-train",
            "ternary-search",
        ],
    ),
    (
        "engine/ternary",
        "ternary",
        &[
            "ternary-core",
            "ternary-common",
            "ternary-model",
            "ternary-backend",
            "ternary-formats",
            "ternary-grammar",
            "ternary-infer",
            "ternary-train",
            "ternary-search",
            "ternary-session",
        ],
    ),
    ("engine/scripted", "ternary-scripted", &[]),
    ("engine/features", "ternary-features", &[]),
    (
        "engine/tests",
        "ternary-tests",
        &["ternary", "ternary-features", "ternary-scripted"],
    ),
    (
        "engine/fuzz",
        "ternary-fuzz",
        &["ternary", "ternary-features", "ternary-scripted"],
    ),
    ("native-cli", "onebit", &["ternary", "ternary-features"]),
    ("web/markdown", "ternary-markdown", &[]),
    ("web/grammar", "ternary-web-grammar", &["ternary-grammar"]),
    ("web/parquet", "ternary-web-parquet", &["ternary-common"]),
    ("web", "ternary-web", &["ternary", "ternary-markdown"]),
    (
        "web/page-tests",
        "page-tests",
        &[
            "ternary",
            "ternary-features",
            "ternary-markdown",
            "ternary-scripted",
        ],
    ),
];

/// Folders of a crate, from the bottom up: a module may use those before it, never one after it.
const MODULES: [(&str, &[&str]); 5] = [
    (
        "engine/core/src",
        &[
            "math", "rng", "kind", "config", "quant", "params", "layout", "board",
        ],
    ),
    (
        "engine/common/src",
        &[
            "exact",
            "error",
            "platform",
            "bytes",
            "chat",
            "tokenizer",
            "data",
        ],
    ),
    (
        "engine/formats/src",
        &[
            "onebit",
            "source",
            "safetensors",
            "adapter",
            "c_header",
            "hf/config",
            "export/family",
            "export/model",
            "hf",
            "hub",
            "gguf",
            "import",
            "export",
        ],
    ),
    ("engine/backend/src", &["training", "cpu", "gpu", "bench"]),
    (
        "web/src",
        &[
            "js",
            "protocol",
            "worker",
            "ui/widgets",
            "ui/engine",
            "ui/page",
            "ui/chat",
            "ui/models",
            "ui/explorer",
            "ui/tuner",
            "ui/bench",
            "ui/shell",
        ],
    ),
];

/// One file: its path from the root, with `/`, and its text.
struct File {
    path: String,
    text: String,
}

impl File {
    /// Whether it holds tests and nothing else.
    fn is_test(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        self.path.contains("/tests/") || name == "tests.rs"
    }

    /// Its lines of code, numbered: without comments, and without the tests at its end.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let tests = self.text.match_indices("#[cfg(test)]\n").find(|(at, _)| {
            let after = self.text[*at..].lines().find(|line| !line.starts_with('#'));
            after.is_some_and(|line| line.contains("mod ") && line.ends_with('{'))
        });
        let end = tests.map_or(self.text.len(), |(at, _)| at);
        let lines = self.text[..end].lines().enumerate();
        lines.filter_map(|(number, line)| {
            let code = line.split("//").next().unwrap_or_default();
            (!code.trim().is_empty()).then_some((number + 1, code))
        })
    }

    fn inside(&self, folders: &[&str]) -> bool {
        folders.iter().any(|folder| self.path.starts_with(folder))
    }
}

/// The repository's sources and manifests.
struct Repository {
    files: Vec<File>,
}

impl Repository {
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut files = Vec::new();
        for folder in ["engine", "shaders", "native-cli", "web", "xtask"] {
            collect(&root, folder, &mut files);
        }
        assert!(files.len() > 300, "only {} files found", files.len());
        Repository { files }
    }

    /// With a file more, or another in its place.
    fn with(mut self, path: &str, text: &str) -> Self {
        self.files.retain(|file| file.path != path);
        let (path, text) = (path.to_owned(), text.to_owned());
        self.files.push(File { path, text });
        self
    }

    fn text(&self, path: &str) -> &str {
        let found = self.files.iter().find(|file| file.path == path);
        &found.unwrap_or_else(|| panic!("there is no {path}")).text
    }

    fn sources(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.path.ends_with(".rs"))
    }

    /// Sources of programs and libraries, without tests.
    fn shipped(&self) -> impl Iterator<Item = &File> {
        self.sources().filter(|file| !file.is_test())
    }

    /// Lines of shipped code that `is_wrong`, but for files `inside` these folders.
    fn lines(&self, inside: &[&str], is_wrong: impl Fn(&str) -> bool) -> Vec<String> {
        let files = self.shipped().filter(|file| !file.inside(inside));
        let lines =
            files.flat_map(|file| file.code().map(move |(number, code)| (file, number, code)));
        let wrong = lines.filter(|(.., code)| is_wrong(code));
        wrong
            .map(|(file, number, code)| format!("{}:{number}: {}", file.path, code.trim()))
            .collect()
    }
}

fn collect(root: &Path, folder: &str, files: &mut Vec<File>) {
    let mut entries: Vec<_> = fs::read_dir(root.join(folder))
        .expect("a folder of the repository")
        .flatten()
        .collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{folder}/{name}");
        if entry.path().is_dir() {
            if !["target", "dist", "node_modules", "fixtures"].contains(&name.as_str()) {
                collect(root, &path, files);
            }
        } else if name.ends_with(".rs") || name.ends_with(".wgsl") || name == "Cargo.toml" {
            let text = fs::read_to_string(entry.path()).expect("a text of the repository");
            files.push(File { path, text });
        }
    }
}

/// Crates of this workspace that a manifest names in its dependencies, those for tests left out.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut section = "";
    let mut found = BTreeSet::new();
    for line in manifest.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
            continue;
        }
        let counts = section.ends_with("dependencies") && !section.contains("dev-dependencies");
        let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
        if counts
            && (name == "ternary"
                || name.starts_with("ternary-")
                || name == "onebit"
                || name == "page-tests")
        {
            found.insert(name.to_owned());
        }
    }
    found
}

fn arrows(repository: &Repository) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in repository
        .files
        .iter()
        .filter(|file| file.path.ends_with("Cargo.toml"))
    {
        let folder = file.path.trim_end_matches("/Cargo.toml");
        if folder == "xtask" {
            continue;
        }
        let Some((_, name, allowed)) = ARROWS.iter().find(|(path, ..)| *path == folder) else {
            wrong.push(format!(
                "{folder}: a crate without a place in the list of arrows"
            ));
            continue;
        };
        if !file.text.contains(&format!("name = \"{name}\"")) {
            wrong.push(format!("{folder}: its name is not {name}"));
        }
        for dependency in dependencies(&file.text) {
            if !allowed.contains(&dependency.as_str()) {
                wrong.push(format!("{name} must not depend on {dependency}"));
            }
        }
    }
    wrong
}

/// The place of a path (below a crate's src) in the crate's order; the longest name that fits
/// counts.
fn place(order: &[&str], path: &str) -> Option<usize> {
    let fits = |name: &str| {
        path == name || path.starts_with(&format!("{name}/")) || path == format!("{name}.rs")
    };
    let fitting = order.iter().enumerate().filter(|(_, name)| fits(name));
    fitting
        .max_by_key(|(_, name)| name.len())
        .map(|(place, _)| place)
}

/// Every `crate::a::b` of a text, as `a/b`.
fn crate_paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let path: String = rest
            .chars()
            .take_while(|c| c.is_alphanumeric() || "_:".contains(*c))
            .collect();
        found.push(path.trim_end_matches(':').replace("::", "/"));
    }
    found
}

fn modules(repository: &Repository) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in repository.shipped() {
        for (folder, order) in MODULES {
            let Some(inside) = file
                .path
                .strip_prefix(folder)
                .and_then(|path| path.strip_prefix('/'))
            else {
                continue;
            };
            let Some(own) = place(order, inside) else {
                continue;
            };
            for (number, code) in file.code() {
                for used in crate_paths(code) {
                    if place(order, &used).is_some_and(|used| used > own) {
                        wrong.push(format!(
                            "{}:{number}: {} is below {used}",
                            file.path, order[own]
                        ));
                    }
                }
            }
        }
    }
    wrong
}

/// `cfg` of the machine belongs to the platform and the backends.
fn platforms(repository: &Repository) -> Vec<String> {
    let allowed = [
        "engine/common/src/platform/",
        "engine/backend/src/",
        "xtask/src/setup/",
        "web/page-tests/",
    ];
    let words = [
        "target_arch",
        "target_os",
        "target_family",
        "unix",
        "windows",
    ];
    repository.lines(&allowed, |code| {
        let cfg = code.contains("cfg(") || code.contains("cfg!(") || code.contains("cfg_attr(");
        cfg && words.iter().any(|word| code.contains(word))
    })
}

/// What records, quantizes or lays out never waits.
fn waiting(repository: &Repository) -> Vec<String> {
    let never = [
        "engine/core/",
        "engine/model/",
        "engine/backend/src/cpu/exec/",
        "engine/search/src/space.rs",
        "engine/search/src/surrogate.rs",
    ];
    let waits = |code: &str| code.contains(".await") || code.contains("async ");
    let mut wrong: Vec<String> = repository.lines(&[], waits);
    wrong.retain(|line| never.iter().any(|folder| line.starts_with(folder)));
    // Only the command line blocks, search's worker threads, and the tools around the engine.
    let may_block = [
        "native-cli/",
        "engine/search/src/evaluators.rs",
        "engine/ternary/examples/",
        "engine/fuzz/",
        "web/page-tests/",
    ];
    wrong.extend(repository.lines(&may_block, |code| code.contains("block_on(")));
    wrong
}

/// The page's user interface and the command line know no operations and no buffers.
fn engine_logic(repository: &Repository) -> Vec<String> {
    let inner = [
        "ternary::program",
        "ternary::quant",
        "ternary::backend",
        "ternary::model",
        "ternary::math",
    ];
    let uses = |code: &str| inner.iter().any(|module| code.contains(module));
    let mut wrong = repository.lines(
        &[
            "engine/",
            "shaders/",
            "native-cli/",
            "xtask/",
            "web/page-tests/",
            "web/src/worker/",
        ],
        uses,
    );
    let operations = ["ternary::program", "ternary::math", "Op::"];
    let mut cli = repository.lines(&["engine/", "shaders/", "web/", "xtask/"], |code| {
        operations.iter().any(|module| code.contains(module))
    });
    wrong.append(&mut cli);
    wrong
}

/// Functions of the system's mathematics library round differently from machine to machine.
fn transcendental(repository: &Repository) -> Vec<String> {
    const FUNCTIONS: [&str; 17] = [
        "exp", "exp2", "exp_m1", "ln", "ln_1p", "log", "log2", "log10", "powf", "powi", "sin",
        "cos", "tan", "sinh", "cosh", "tanh", "cbrt",
    ];
    let calls = |code: &str| {
        FUNCTIONS
            .iter()
            .any(|name| code.contains(&format!(".{name}(")))
    };
    let mut wrong = repository.lines(
        &[
            "native-cli/",
            "web/",
            "xtask/",
            "shaders/",
            "engine/ternary/examples/",
            "engine/tests/",
            "engine/fuzz/",
        ],
        calls,
    );
    // The oracle of a shader's precision, f64 on one machine.
    wrong.retain(|line| !line.starts_with("engine/scripted/"));
    wrong
}

/// Numbers with a home: everybody else takes them from there.
fn homes(repository: &Repository) -> Vec<String> {
    const HOMES: [(&str, &[&str]); 4] = [
        ("0.044_715", &["engine/core/src/math.rs"]),
        ("0.044715", &["shaders/wgsl/lib/activation.wgsl"]),
        ("0.797_884", &["engine/core/src/math.rs"]),
        ("0.7978845608", &["shaders/wgsl/lib/activation.wgsl"]),
    ];
    let mut wrong = Vec::new();
    for file in repository
        .files
        .iter()
        .filter(|file| !file.is_test() && file.path != "xtask/tests/tidy.rs")
    {
        if file.inside(&["engine/tests/"]) {
            continue;
        }
        for (number, homes) in HOMES {
            let count = file.text.matches(number).count();
            let allowed = usize::from(homes.contains(&file.path.as_str()));
            if count > allowed {
                wrong.push(format!(
                    "{}: {number} has its home in {}",
                    file.path,
                    homes.join(", ")
                ));
            }
        }
    }
    wrong
}

/// `unsafe` is for SIMD, memory mapping, a page's shared memory and what a driver needs to hear.
fn unsafety(repository: &Repository) -> Vec<String> {
    let allowed = [
        "engine/backend/src/cpu/",
        "engine/backend/src/gpu/cache.rs",
        "engine/backend/src/gpu/device.rs",
        "engine/common/src/platform/native/",
        "engine/common/src/platform/web/threads.rs",
        "web/page-tests/src/browser.rs",
    ];
    repository.lines(&allowed, |code| {
        let words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.into_iter().any(|word| word == "unsafe")
    })
}

/// A value that stands in for one that must be there hides a mistake.
fn silent_fallbacks(repository: &Repository) -> Vec<String> {
    repository.lines(&["native-cli/", "web/", "xtask/"], |code| {
        code.contains(".unwrap_or(out)")
            || code.contains(".unwrap_or(dx)")
            || code.contains(".unwrap_or(x)")
    })
}

/// What is to be done is done, or has a reason and an owner elsewhere.
fn leftovers(repository: &Repository) -> Vec<String> {
    let marks = ["TODO", "FIXME", "XXX", "HACK"];
    let mut wrong = Vec::new();
    for file in repository
        .sources()
        .filter(|file| file.path != "xtask/tests/tidy.rs")
    {
        for (number, line) in file.text.lines().enumerate() {
            let comment = line.split_once("//").map_or("", |(_, comment)| comment);
            if marks.iter().any(|mark| {
                comment
                    .split(|c: char| !c.is_alphanumeric())
                    .any(|word| word == *mark)
            }) {
                wrong.push(format!("{}:{}: {}", file.path, number + 1, line.trim()));
            }
        }
    }
    wrong
}

/// The two backends do not know each other, nor do the parts of the page; training knows no search.
fn strangers(repository: &Repository) -> Vec<String> {
    let mut wrong = Vec::new();
    for (folder, never) in [
        ("engine/backend/src/cpu/", "crate::gpu"),
        ("engine/backend/src/gpu/", "crate::cpu"),
        ("engine/train/", "ternary_search"),
        ("web/src/ui/", "ternary::backend"),
        ("web/src/ui/models/", "crate::ui::chat"),
        ("web/src/ui/explorer/", "crate::ui::chat"),
        ("web/src/ui/explorer/", "crate::ui::models"),
        ("web/src/ui/tuner/", "crate::ui::chat"),
        ("web/src/ui/tuner/", "crate::ui::models"),
        ("web/src/ui/tuner/", "crate::ui::explorer"),
        ("web/src/ui/bench/", "crate::ui::chat"),
        ("web/src/ui/bench/", "crate::ui::models"),
        ("web/src/worker/", "crate::ui"),
    ] {
        for file in repository
            .shipped()
            .filter(|file| file.path.starts_with(folder))
        {
            let lines = file.code().filter(|(_, code)| code.contains(never));
            wrong.extend(lines.map(|(number, _)| format!("{}:{number}: {never}", file.path)));
        }
    }
    wrong
}

/// Columns of a line of comment, but for code and tables in it.
const COLUMNS: usize = 100;

fn comments(repository: &Repository) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in &repository.files {
        let mut code = false;
        for (number, line) in file.text.lines().enumerate() {
            let Some(text) = line.trim_start().strip_prefix("//") else {
                code = false;
                continue;
            };
            let text = text.trim_start_matches(['/', '!']).trim_start();
            code ^= text.starts_with("```");
            let free = code || text.starts_with('|') || text.starts_with('<');
            if line.chars().count() > COLUMNS && !free {
                wrong.push(format!("{}:{}", file.path, number + 1));
            }
        }
    }
    wrong
}

type Rule = fn(&Repository) -> Vec<String>;

/// Every rule with a violation that it must find: a file and what stands in it.
const RULES: [(&str, Rule, &str, &str); 13] = [
    (
        "arrows between crates go down",
        arrows,
        "engine/model/Cargo.toml",
        "[package]\nname = \"ternary-model\"\n[dependencies]\nternary-train.workspace = true\n",
    ),
    (
        "arrows between the modules of a crate go down",
        modules,
        "engine/common/src/tokenizer/planted.rs",
        "use crate::data::Batches;\n",
    ),
    (
        "the machine is asked for in platform/ and the backends only",
        platforms,
        "engine/train/src/planted.rs",
        "#[cfg(unix)]\nfn planted() {}\n",
    ),
    (
        "only listed places wait or block",
        waiting,
        "engine/model/src/planted.rs",
        "async fn planted() {}\n",
    ),
    (
        "no engine logic in the page's user interface and the command line",
        engine_logic,
        "native-cli/src/planted.rs",
        "use ternary::program::Op;\n",
    ),
    (
        "no transcendental function of the standard library where native and wasm must agree",
        transcendental,
        "engine/search/src/planted.rs",
        "fn planted(x: f64) -> f64 { x.exp() }\n",
    ),
    (
        "numbers have one home",
        homes,
        "engine/backend/src/planted.rs",
        "const CUBIC: f32 = 0.044_715;\n",
    ),
    (
        "unsafe stands where it is allowed",
        unsafety,
        "engine/train/src/planted.rs",
        "fn planted() { unsafe { planted_too() } }\n",
    ),
    (
        "no silent fallbacks",
        silent_fallbacks,
        "engine/model/src/planted.rs",
        "fn planted(out: u8) -> u8 { None.unwrap_or(out) }\n",
    ),
    (
        "nothing is left to be done",
        leftovers,
        "engine/core/src/planted.rs",
        "// TODO\n",
    ),
    (
        "comments stay within 100 columns",
        comments,
        "engine/core/src/planted.rs",
        "// A line of a comment that goes on and on, past the hundredth column, where nobody wants to read it any more.\n",
    ),
    (
        "strangers stay strangers",
        strangers,
        "engine/backend/src/gpu/planted.rs",
        "use crate::cpu::CpuBackend;\n",
    ),
    (
        "every crate of the workspace has a place in the list of arrows",
        arrows,
        "engine/planted/Cargo.toml",
        "[package]\nname = \"ternary-planted\"\n",
    ),
];

#[test]
fn the_rules_hold() {
    let repository = Repository::read();
    let mut wrong = BTreeMap::new();
    for (name, rule, ..) in RULES {
        let found = rule(&repository);
        if !found.is_empty() {
            wrong.insert(name, found);
        }
    }
    let list: Vec<String> = wrong
        .iter()
        .map(|(rule, found)| format!("{rule}:\n  {}", found.join("\n  ")))
        .collect();
    assert!(
        list.is_empty(),
        "\n{}\nThe reasons are in docs/architecture.md.",
        list.join("\n")
    );
}

#[test]
fn every_rule_finds_its_planted_violation() {
    for (name, rule, path, text) in RULES {
        let planted = Repository::read().with(path, text);
        let found = rule(&planted);
        assert!(
            found
                .iter()
                .any(|line| line.starts_with(path) || path.ends_with("Cargo.toml")),
            "{name}: {found:?}"
        );
    }
}

#[test]
fn a_missing_file_is_noticed() {
    assert!(
        Repository::read()
            .text("engine/core/Cargo.toml")
            .contains("ternary-core")
    );
}
