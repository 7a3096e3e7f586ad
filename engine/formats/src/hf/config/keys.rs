//! Fields of `config.json` that change nothing of what is computed, and the refusal of those that
//! nobody here knows.

use serde_json::Value;

use super::{CONFIG, Fields};
use crate::source::ImportError;

/// Fields that are read, somewhere in this folder or beside it.
const READ: &[&str] = &[
    "activation_function",
    "add_cross_attention",
    "architectures",
    "attention_bias",
    "attention_multiplier",
    "attn_logit_softcapping",
    "dim_model_base",
    "embedding_multiplier",
    "eos_token_id",
    "final_logit_softcapping",
    "head_dim",
    "hidden_act",
    "hidden_activation",
    "hidden_size",
    "intermediate_size",
    "layer_norm_eps",
    "layer_norm_epsilon",
    "layer_types",
    "logits_scaling",
    "max_position_embeddings",
    "max_window_layers",
    "mlp_bias",
    "model_type",
    "moe_num_experts",
    "n_embd",
    "n_head",
    "n_inner",
    "n_layer",
    "n_positions",
    "n_routed_experts",
    "no_rope_layer_interval",
    "no_rope_layers",
    "num_attention_heads",
    "num_experts",
    "num_hidden_layers",
    "num_key_value_heads",
    "num_local_experts",
    "original_max_position_embeddings",
    "partial_rotary_factor",
    "qk_layernorm",
    "quantization_config",
    "query_pre_attn_scalar",
    "residual_multiplier",
    "rms_norm_eps",
    "rope_local_base_freq",
    "rope_parameters",
    "rope_pct",
    "rope_scaling",
    "rope_theta",
    "rotary_emb_base",
    "rotary_pct",
    "scale_attn_by_inverse_layer_idx",
    "scale_attn_weights",
    "scale_depth",
    "scale_emb",
    "sliding_window",
    "sliding_window_pattern",
    "tie_word_embeddings",
    "use_bidirectional_attention",
    "use_parallel_residual",
    "use_qkv_bias",
    "use_sliding_window",
    "vocab_size",
];

/// Fields without a meaning for the logits of a text, and why.
const HARMLESS: &[(&str, &[&str])] = &[
    (
        "tokens that people and programs are told of",
        &[
            "bos_token_id",
            "pad_token_id",
            "sep_token_id",
            "cls_token_id",
            "mask_token_id",
            "unk_token_id",
            "decoder_start_token_id",
            "forced_bos_token_id",
            "forced_eos_token_id",
            "bad_words_ids",
            "suppress_tokens",
            "begin_suppress_tokens",
            "image_token_index",
            "boi_token_index",
            "eoi_token_index",
            "tokenizer_class",
            "prefix",
        ],
    ),
    (
        "for training alone",
        &[
            "attention_dropout",
            "attn_pdrop",
            "classifier_dropout",
            "embd_pdrop",
            "hidden_dropout",
            "hidden_dropout_prob",
            "initializer_range",
            "initializer_factor",
            "label_smoothing",
            "resid_pdrop",
            "resid_dropout",
            "embedding_dropout",
            "dropout",
            "gradient_checkpointing",
            "router_aux_loss_coef",
            "summary_activation",
            "summary_first_dropout",
            "summary_proj_to_labels",
            "summary_type",
            "summary_use_proj",
            "task_specific_params",
            "problem_type",
            "id2label",
            "label2id",
            "num_labels",
            "finetuning_task",
            "pretraining_tp",
            "seq_length",
            "seq_len",
            "train_seq_len",
            "unsloth_fixed",
            "unsloth_version",
            "trl_version",
            "use_mup",
            "init_std",
            "z_loss",
        ],
    ),
    (
        "for the sampling of texts, which settings decide here",
        &[
            "chunk_size_feed_forward",
            "diversity_penalty",
            "do_sample",
            "early_stopping",
            "encoder_no_repeat_ngram_size",
            "exponential_decay_length_penalty",
            "length_penalty",
            "max_length",
            "max_new_tokens",
            "min_length",
            "no_repeat_ngram_size",
            "num_beam_groups",
            "num_beams",
            "num_return_sequences",
            "remove_invalid_values",
            "repetition_penalty",
            "temperature",
            "top_k",
            "top_p",
            "typical_p",
        ],
    ),
    (
        "how another program computes, keeps or returns the same",
        &[
            "attn_implementation",
            "auto_map",
            "bfloat16",
            "cache_implementation",
            "cross_attention_hidden_size",
            "dtype",
            "fp16",
            "fp32",
            "is_decoder",
            "is_encoder_decoder",
            "mlp_implementation",
            "num_logits_to_keep",
            "output_attentions",
            "output_hidden_states",
            "output_scores",
            "pruned_heads",
            "quantization",
            "reorder_and_upcast_attn",
            "return_dict",
            "return_dict_in_generate",
            "rotary_scaling_factor",
            "softmax_in_fp32",
            "tf_legacy_loss",
            "tie_encoder_decoder",
            "torch_dtype",
            "torchscript",
            "transformers.js_config",
            "transformers_version",
            "use_bfloat16",
            "use_cache",
            "use_flash_attn",
            "use_flash_attention",
            "use_fused_mlp",
            "use_fused_rms_norm",
            "use_fused_rope",
            "use_fused_swiglu",
            "use_cache_quantization",
            "use_dynamic_ntk",
            "use_logn_attn",
            "n_ctx",
            "mm_tokens_per_image",
            "name_or_path",
            "model_max_length",
            "use_rms_norm",
        ],
    ),
];

/// Whether a value says nothing: null, false, zero, or empty.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

impl Fields<'_> {
    /// Refuse a field that is set and that nobody here knows, unless it is one of `ignored`: it
    /// could change the logits. Texts say what something is more than what is computed, and are
    /// told of in `warnings`.
    pub fn check_keys(
        &self,
        ignored: &[String],
        warnings: &mut Vec<String>,
    ) -> Result<(), ImportError> {
        let known = |name: &str| {
            READ.contains(&name)
                || HARMLESS.iter().any(|(_, names)| names.contains(&name))
                || name.starts_with('_')
        };
        for name in ignored {
            let shown = ternary_core::kind::escaped(name);
            if self.0.get(name).is_none() {
                return Err(ImportError::Input(format!(
                    "--ignore-key {shown}: {CONFIG} has no such field; give a name as the message that refuses the field has it"
                )));
            }
            if READ.contains(&name.as_str()) {
                return Err(ImportError::Input(format!(
                    "--ignore-key {shown}: the import reads this field of {CONFIG}, and cannot leave it out"
                )));
            }
        }
        let fields = self.0.as_object().into_iter().flatten();
        for (name, value) in fields.filter(|(name, value)| !known(name) && !is_empty(value)) {
            let shown = ternary_core::kind::escaped(name);
            if ignored.contains(name) {
                warnings.push(format!("{CONFIG}: {shown} is ignored, as was asked for"));
            } else if value.is_string() {
                warnings.push(format!("{CONFIG}: {shown} is not known here and not used"));
            } else {
                return self.refuse(
                    name,
                    "fields that are known here: this one could change what the model computes. If it does not, give --ignore-key with its name",
                );
            }
        }
        Ok(())
    }
}
