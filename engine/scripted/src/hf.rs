//! A whole model, and the folder in which Hugging Face keeps one.

use std::path::Path;

use serde_json::{Value, json};

use crate::{Chain, Gguf, Llama, Tensor, Tokenizer, Weights, put, write_safetensors};

/// Everything that a folder has. Change a field, then write it.
#[derive(Clone, Debug)]
pub struct Model {
    pub tokenizer: Tokenizer,
    pub shape: Llama,
    pub weights: Weights,
    /// config.json.
    pub config: Value,
    /// chat_template.jinja.
    pub template: Option<String>,
    /// tokenizer_config.json.
    pub settings: Option<Value>,
    /// generation_config.json.
    pub generation: Option<Value>,
}

impl Model {
    /// A model of the tokenizer's vocabulary that says `chain`.
    pub fn new(tokenizer: Tokenizer, shape: Llama, chain: Chain) -> Self {
        let vocab = tokenizer.len();
        Model {
            weights: shape.weights(vocab, &chain),
            config: shape.config(vocab),
            tokenizer,
            shape,
            template: None,
            settings: None,
            generation: None,
        }
    }

    #[must_use]
    pub fn template(mut self, jinja: &str) -> Self {
        self.template = Some(jinja.into());
        self
    }

    /// Set one key of config.json.
    #[must_use]
    pub fn config(mut self, key: &str, value: Value) -> Self {
        self.config[key] = value;
        self
    }

    /// Set one key of tokenizer_config.json.
    #[must_use]
    pub fn setting(mut self, key: &str, value: Value) -> Self {
        self.settings.get_or_insert_with(|| json!({}))[key] = value;
        self
    }

    /// Add or replace one tensor.
    #[must_use]
    pub fn tensor(mut self, name: &str, tensor: Tensor) -> Self {
        self.weights.set(name, tensor);
        self
    }

    /// Everything but the weights.
    pub fn write_hf_texts(&self, folder: &Path) {
        let json = |name: &str, value: &Value| put(&folder.join(name), format!("{value:#}"));
        json("config.json", &self.config);
        json("tokenizer.json", &self.tokenizer.json);
        if let Some(jinja) = &self.template {
            put(&folder.join("chat_template.jinja"), jinja);
        }
        if let Some(settings) = &self.settings {
            json("tokenizer_config.json", settings);
        }
        if let Some(generation) = &self.generation {
            json("generation_config.json", generation);
        }
    }

    /// A Hugging Face folder with one model.safetensors.
    pub fn write_hf(&self, folder: &Path) {
        self.write_hf_texts(folder);
        write_safetensors(
            &folder.join("model.safetensors"),
            &self.weights,
            &[("format", "pt")],
        );
    }

    /// A Hugging Face folder whose weights are cut into `parts` files, with an index.
    pub fn write_hf_parts(&self, folder: &Path, parts: usize) {
        self.write_hf_texts(folder);
        let each = self.weights.0.len().div_ceil(parts);
        let mut map = serde_json::Map::new();
        for (i, some) in self.weights.0.chunks(each).enumerate() {
            let name = format!("model-{:05}-of-{parts:05}.safetensors", i + 1);
            let some = Weights(some.to_vec());
            write_safetensors(&folder.join(&name), &some, &[("format", "pt")]);
            map.extend(some.0.into_iter().map(|(key, _)| (key, json!(name))));
        }
        let index = json!({"metadata": {"total_size": 1}, "weight_map": map});
        put(
            &folder.join("model.safetensors.index.json"),
            index.to_string(),
        );
    }

    /// The same model as a GGUF of architecture `llama`, everything F32, with GPT-2's
    /// pre-tokenizer.
    pub fn gguf(&self) -> Gguf {
        self.gguf_of("llama")
    }

    pub fn gguf_of(&self, architecture: &str) -> Gguf {
        let end = self.tokenizer.specials().last().copied();
        let mut gguf = Gguf::new(architecture, &self.shape, self.tokenizer.len())
            .bpe_vocab(&self.tokenizer, Some("gpt-2"))
            .weights(&self.weights);
        if let Some(end) = end {
            gguf = gguf.with("tokenizer.ggml.eos_token_id", end);
        }
        if let Some(jinja) = &self.template {
            gguf = gguf.with("tokenizer.chat_template", jinja.as_str());
        }
        gguf
    }
}
