//! What every case needs: a folder, `onebit import`, a greedy reply, a typed conversation, logits.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
pub use ternary_scripted::{
    CHATML, Chain, Gguf, HTML_PAGE, LFS_POINTER, Llama, Model, Tensor, Tokenizer, Weights, put,
    reply,
};

pub use crate::common::{Output, run, typed};

/// A folder of a test's own.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Self {
        Place(TempDir::new().unwrap())
    }

    pub fn dir(&self) -> &Path {
        self.0.path()
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn run(&self, args: &[&str]) -> Output {
        run(self.dir(), args)
    }

    /// `onebit import --input INPUT --output m.1bit`, and more arguments.
    pub fn import(&self, input: &str, more: &[&str]) -> Output {
        let fixed = ["import", "--input", input, "--output", "m.1bit"];
        self.run(&[&fixed, more].concat())
    }

    /// What m.1bit writes after `prompt`, greedily, without what is around it.
    pub fn generate(&self, prompt: &str) -> String {
        let out = self.run(&[
            "generate",
            "--model",
            "m.1bit",
            "--prompt",
            prompt,
            "--temperature",
            "0",
            "--device",
            "cpu",
            "--json",
        ]);
        out.ok().json()["text"].as_str().unwrap().to_owned()
    }

    /// A conversation with m.1bit, a line of the user's each.
    pub fn chat(&self, lines: &str, more: &[&str]) -> Output {
        let fixed = [
            "chat",
            "--model",
            "m.1bit",
            "--temperature",
            "0",
            "--device",
            "cpu",
        ];
        typed(self.dir(), &[&fixed, more].concat(), lines.as_bytes())
    }

    /// The bytes of the logits of some ids.
    pub fn logits(&self, device: &str) -> Vec<f32> {
        self.run(&[
            "logits",
            "--model",
            "m.1bit",
            "--ids",
            "10,20,30,40,50,60,70,80",
            "--output",
            "l.safetensors",
            "--device",
            device,
        ])
        .ok();
        let bytes = std::fs::read(self.at("l.safetensors")).unwrap();
        let head = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let (values, _) = bytes[8 + head..].as_chunks();
        values.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    /// Import a folder or file in f32 and give its logits.
    pub fn exact(&self, input: &str) -> Vec<f32> {
        self.import(input, &["--head", "f32", "--body", "f32"]).ok();
        self.logits("cpu")
    }
}

/// The largest difference of two rows of logits.
pub fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    assert!(!a.is_empty() && a.iter().chain(b).all(|v| v.is_finite()));
    a.iter()
        .zip(b)
        .fold(0.0, |most, (a, b)| most.max((a - b).abs()))
}
