//! What a search was made on.

use sha2::{Digest, Sha256};

use ternary_core::config::ModelConfig;
use ternary_model::Parameters;

/// SHA-256 of a model's config and parameters, by name.
pub fn fingerprint(config: &ModelConfig, parameters: &Parameters) -> String {
    let mut hash = Sha256::new();
    hash.update(serde_json::to_vec(config).expect("a configuration is JSON"));
    let mut names: Vec<&String> = parameters.keys().collect();
    names.sort();
    for name in names {
        hash.update(name.as_bytes());
        for v in &parameters[name] {
            hash.update(v.to_le_bytes());
        }
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}
