//! Composes every `wgsl/*.wgsl` with the snippets it imports, validates it with naga and writes a
//! table of what it declares, so that neither a binding number nor a workgroup size is ever written
//! down in Rust.

// Build scripts talk to cargo through standard output.
#![allow(clippy::print_stdout)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use naga::valid::{Capabilities, ValidationFlags, Validator};
use naga::{AddressSpace, Module, StorageAccess};

fn main() {
    println!("cargo:rerun-if-changed=wgsl");
    let root = PathBuf::from("wgsl");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));

    let mut files: Vec<PathBuf> = fs::read_dir(&root)
        .expect("wgsl/ is readable")
        .map(|entry| entry.expect("wgsl/ is readable").path())
        .filter(|path| path.extension().is_some_and(|e| e == "wgsl"))
        .collect();
    files.sort();

    let mut table = String::new();
    let mut names = Vec::new();
    let mut parts = Parts::default();
    for path in &files {
        let stem = path
            .file_stem()
            .and_then(|s| s.to_str())
            .expect("shader names are UTF-8");
        let mut pieces = vec![String::new()];
        compose(&root, path, &mut BTreeSet::new(), &mut pieces);
        let source = pieces.concat();
        let module = validate(stem, &source);
        let own: Vec<String> = pieces.iter().filter_map(|text| parts.name(text)).collect();
        describe(stem, &source, &own.join(", "), &module, &mut table);
        names.push(stem.to_uppercase());
    }
    let _ = writeln!(
        table,
        "/// Every shader.\npub static ALL: &[&Shader] = &[{}];",
        names
            .iter()
            .map(|n| format!("&{n}"))
            .collect::<Vec<_>>()
            .join(", ")
    );
    for (i, text) in parts.0.iter().enumerate() {
        let _ = writeln!(table, "static PART_{i}: &str = {text:?};");
    }
    fs::write(out.join("shaders.rs"), table).expect("OUT_DIR is writable");
}

/// Stretches of source, each of them once whatever the number of shaders that have it: every
/// visitor of the page downloads them.
#[derive(Default)]
struct Parts(Vec<String>);

impl Parts {
    /// What the stretch is called; None where nothing of it is code.
    fn name(&mut self, text: &str) -> Option<String> {
        let text = bare(text);
        if text.is_empty() {
            return None;
        }
        let known = self.0.iter().position(|known| *known == text);
        let i = known.unwrap_or_else(|| {
            self.0.push(text);
            self.0.len() - 1
        });
        Some(format!("PART_{i}"))
    }
}

/// Append `path` to `pieces`, with each `#import "file"` line (a path under `wgsl/`) replaced by
/// that file, once per shader. A piece ends where a file or an import does.
fn compose(root: &Path, path: &Path, seen: &mut BTreeSet<PathBuf>, pieces: &mut Vec<String>) {
    if !seen.insert(path.to_owned()) {
        return;
    }
    let text =
        fs::read_to_string(path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
    for line in text.lines() {
        match line.strip_prefix("#import ") {
            Some(import) => {
                pieces.push(String::new());
                let import = root.join(import.trim().trim_matches('"'));
                compose(root, &import, seen, pieces);
                pieces.push(String::new());
            }
            None => {
                let piece = pieces.last_mut().expect("one is begun");
                piece.push_str(line);
                piece.push('\n');
            }
        }
    }
}

/// Without comments, indentation, and spaces beside what parts words by itself.
fn bare(source: &str) -> String {
    let parts_words = |c: Option<char>| c.is_some_and(|c| ",;:{}()+*".contains(c));
    let mut text = String::new();
    for line in source.lines() {
        // WGSL has no strings that `//` could stand in, and no file here uses /* */.
        let code = line.split("//").next().unwrap_or_default().trim();
        if !code.is_empty() {
            let mut rest = code.chars().peekable();
            while let Some(c) = rest.next() {
                let beside = c == ' '
                    && (parts_words(text.chars().next_back()) || parts_words(rest.peek().copied()));
                if !beside {
                    text.push(c);
                }
            }
            text.push('\n');
        }
    }
    text
}

fn validate(stem: &str, source: &str) -> Module {
    let mut options = naga::front::wgsl::Options::new();
    options.capabilities = Capabilities::all();
    let mut parser = naga::front::wgsl::Frontend::new_with_options(options);
    let module = parser
        .parse(source)
        .unwrap_or_else(|e| panic!("{stem}: {}", e.emit_to_string(source)));
    // No optional capability but those the shader itself asks for, since the others have to run on
    // any WebGPU device; unpack2x16float is part of core WGSL.
    let mut capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    for (extension, capability) in [
        ("enable f16;", Capabilities::SHADER_FLOAT16),
        (
            "enable wgpu_cooperative_matrix;",
            Capabilities::COOPERATIVE_MATRIX,
        ),
    ] {
        if source.lines().any(|line| line == extension) {
            capabilities |= capability;
        }
    }
    if uses_subgroups(source) {
        capabilities |= Capabilities::SUBGROUP;
    }
    Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .unwrap_or_else(|e| panic!("{stem}: {}", e.emit_to_string(source)));
    module
}

/// naga knows no `enable subgroups;`, which browsers ask for: the engine puts it before these.
fn uses_subgroups(source: &str) -> bool {
    source.contains("@builtin(subgroup_size)")
}

fn describe(stem: &str, source: &str, parts: &str, module: &Module, table: &mut String) {
    let [entry] = module.entry_points.as_slice() else {
        panic!("{stem}: a shader file has one entry point");
    };
    let mut bindings = Vec::new();
    for (_, variable) in module.global_variables.iter() {
        let Some(binding) = variable.binding else {
            continue;
        };
        assert_eq!(binding.group, 0, "{stem}: all bindings are in group 0");
        let access = match variable.space {
            AddressSpace::Uniform => "Uniform",
            AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => {
                "ReadWrite"
            }
            AddressSpace::Storage { .. } => "Read",
            other => panic!("{stem}: unexpected address space {other:?}"),
        };
        let name = variable.name.as_deref().expect("bindings have names");
        bindings.push((binding.binding, name, access));
    }
    bindings.sort_unstable();
    assert!(
        bindings.windows(2).all(|w| w[0].0 != w[1].0),
        "{stem}: two bindings with one number"
    );

    let bindings: String = bindings
        .iter()
        .map(|(index, name, access)| {
            format!("Binding {{ index: {index}, name: {name:?}, access: Access::{access} }}, ")
        })
        .collect();
    let constants: String = module
        .constants
        .iter()
        .filter_map(|(_, constant)| {
            let name = constant.name.as_deref()?;
            match module.global_expressions[constant.init] {
                naga::Expression::Literal(naga::Literal::U32(value)) => {
                    Some(format!("({name:?}, {value}), "))
                }
                _ => None,
            }
        })
        .collect();
    let _ = writeln!(
        table,
        "pub static {}: Shader = Shader {{ name: {stem:?}, parts: &[{parts}], \
         entry: {:?}, workgroup_size: {:?}, bindings: &[{bindings}], constants: &[{constants}], subgroups: {} }};",
        stem.to_uppercase(),
        entry.name,
        entry.workgroup_size,
        uses_subgroups(source),
    );
}
