//! Starting from a given model: adapters, their memory, and teachers.

use crate::runs::{config, data, options, train};
use ternary::adapter::{Adapter, Checksum, base_checksum};
use ternary::backend::cpu::CpuBackend;
use ternary::config::{LoraConfig, ModelConfig, TrainConfig};
use ternary::data::Batches;
use ternary::model::Parameters;
use ternary::params;
use ternary::train::merge::merge;
use ternary::train::*;

fn model() -> ModelConfig {
    ModelConfig {
        anneal_fraction: 0.0,
        arenas_initial: None,
        ..config()
    }
}

fn parameters(config: &ModelConfig, seed: u64) -> Parameters {
    params::all(config)
        .into_iter()
        .map(|p| {
            let values = p.init(config, seed);
            (p.name, values)
        })
        .collect()
}

fn lora() -> TrainConfig {
    TrainConfig {
        lora: Some(LoraConfig::default()),
        ..train(20)
    }
}

fn from(parameters: Parameters, train: TrainConfig, teacher: Option<Teacher>) -> Trainer {
    let start = Start {
        parameters: Some(parameters),
        name: "base".into(),
        teacher,
    };
    Trainer::from_start(Box::new(CpuBackend::new(1)), model(), train, start).unwrap()
}

fn validation(trainer: &mut Trainer) -> f64 {
    let batches = Batches::new(&data(), 32, 1, 50).unwrap();
    let windows = batches.fixed(8);
    pollster::block_on(trainer.validation_loss(&batches, &windows)).unwrap()
}

#[test]
fn adapters_begin_as_nothing_and_only_they_take_memory() {
    let base = parameters(&model(), 5);
    let (mut full, mut adapted) = (
        from(base.clone(), train(20), None),
        from(base, lora(), None),
    );
    // A matrix unit multiplies weights that it knows to be codes exactly, others rounded.
    assert!((validation(&mut full) - validation(&mut adapted)).abs() < 1e-4);
    let (full, adapted) = (full.memory(), adapted.memory());
    let adapters: usize = params::trained(&model(), Some(&LoraConfig::default()))
        .iter()
        .map(params::Param::len)
        .sum();
    let floats = 4 * adapters as u64;
    assert_eq!((adapted.gradients, adapted.moments), (floats, 2 * floats));
    assert_eq!(adapted.parameters, full.parameters + floats);
    // The forward weights are not made again in every step.
    assert!(adapted.activations < full.activations);
}

#[test]
fn adapters_learn_beside_a_base_that_stays() {
    let base = parameters(&model(), 5);
    let mut trainer = from(base, lora(), None);
    let before = validation(&mut trainer);
    let name = "frozen.model.layers.0.mlp.up_proj.weight";
    let frozen = pollster::block_on(trainer.buffer(name)).unwrap();
    let mut batches = Batches::new(&data(), 32, 1, 50).unwrap();
    for _ in 0..20 {
        pollster::block_on(trainer.step(&mut batches, true)).unwrap();
    }
    assert!(validation(&mut trainer) < before - 0.1);
    assert_eq!(frozen, pollster::block_on(trainer.buffer(name)).unwrap());
}

#[test]
fn a_run_of_adapters_resumes_bit_for_bit_and_merges() {
    let base = parameters(&model(), 5);
    let settings = TrainConfig {
        save_every: 8,
        ..lora()
    };
    let go = |dir: &std::path::Path, steps: usize, resume: bool| {
        let settings = TrainConfig {
            max_steps: steps,
            lr_decay: ternary::config::LrDecay::Constant,
            ..settings.clone()
        };
        let mut trainer = from(base.clone(), settings, None);
        let data = data();
        pollster::block_on(run(
            &mut trainer,
            &data.clone().into(),
            Some(&data),
            &options(dir, resume),
            &mut |_| {},
        ))
        .unwrap()
        .checkpoint
    };
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let straight = go(a.path(), 16, false);
    go(b.path(), 8, false);
    let resumed = go(b.path(), 16, true);
    for file in ["adapter_model.safetensors", "optimizer.safetensors"] {
        let bytes = |dir: &std::path::Path| std::fs::read(dir.join(file)).unwrap();
        assert!(bytes(&straight) == bytes(&resumed), "{file} differs");
    }
    assert!(!straight.join("model.safetensors").exists());

    let adapter: Adapter = checkpoint::read_adapter(a.path()).unwrap();
    adapter
        .check(&model(), base_checksum(&model(), &base))
        .unwrap();
    let other = parameters(&model(), 6);
    let e = adapter.check(&model(), base_checksum(&model(), &other));
    assert!(e.unwrap_err().to_string().contains("another model"));
    wrong_bases_are_refused(&adapter, &base);

    // Merging nothing changes nothing; merging something changes codes, as many as are reported.
    let mut nothing = adapter.clone();
    nothing.tensors.values_mut().for_each(|v| v.fill(0.0));
    let codes = |p: &Parameters, m: &params::Matrix| {
        ternary::quant::quantize(&p[&m.name], m.rows, m.cols, &m.quant).codes
    };
    for adapter in [nothing, adapter] {
        let merged = merge(&model(), base.clone(), &adapter).unwrap();
        let adapted = params::adapted(&model(), &adapter.lora);
        assert_eq!(merged.changes.len(), adapted.len());
        let mut all = 0;
        for (change, m) in merged.changes.iter().zip(&adapted) {
            let (was, is) = (codes(&base, m), codes(&merged.parameters, m));
            let changed = was.iter().zip(&is).filter(|(a, b)| a != b).count();
            assert_eq!(change.changed, Some(changed), "{}", m.name);
            all += changed;
        }
        let empty = adapter.tensors.values().flatten().all(|v| *v == 0.0);
        assert_eq!(all == 0, empty);
    }
}

/// The same codes with other scales, or other computations with the same weights; an adapter that
/// knows codes only accepts both.
fn wrong_bases_are_refused(adapter: &Adapter, base: &Parameters) {
    let mut louder = base.clone();
    louder
        .get_mut("model.layers.1.mlp.up_proj.weight")
        .unwrap()
        .iter_mut()
        .for_each(|w| *w *= 2.0);
    let faster = ModelConfig {
        rope_theta: 500.0,
        ..model()
    };
    let checksum = base_checksum(&model(), base);
    assert_eq!(checksum.codes, base_checksum(&model(), &louder).codes);
    let trained_otherwise = ModelConfig {
        ste_scale_factor: 1.0,
        ..model()
    };
    adapter
        .check(&trained_otherwise, base_checksum(&trained_otherwise, base))
        .unwrap();
    for (config, parameters, word) in [(model(), &louder, "scales"), (faster, base, "config")] {
        let wrong = base_checksum(&config, parameters);
        let e = adapter.check(&config, wrong).unwrap_err().to_string();
        assert!(e.contains("another model") && e.contains(word), "{e}");
        let mut old = adapter.clone();
        old.base.checksum = Some(Checksum {
            codes: checksum.codes,
            ..Checksum::default()
        });
        old.check(&config, wrong).unwrap();
    }
}

#[test]
fn adapters_without_the_newer_checksums_are_read() {
    let tensors: [(String, Vec<usize>, Vec<f32>); 0] = [];
    let weights = ternary::safetensors::serialize(&tensors).unwrap();
    let json = r#"{"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"], "base_crc32": "0000abcd"}"#;
    let adapter = Adapter::parse(json, &weights).unwrap();
    let checksum = Checksum {
        codes: 0xabcd,
        ..Checksum::default()
    };
    assert_eq!(adapter.base.checksum, Some(checksum));
    let whole = Checksum {
        config: Some(7),
        scales: Some(0.1),
        ..checksum
    };
    let base = ternary::adapter::Base {
        name: "base".into(),
        checksum: Some(whole),
    };
    let json = Adapter::config_json(&adapter.lora, &base).unwrap();
    assert_eq!(Adapter::parse(&json, &weights).unwrap().base, base);
}

#[test]
fn a_students_divergence_falls_and_depends_on_weight_and_temperature() {
    let teacher = ModelConfig {
        hidden_size: 48,
        num_layers: 1,
        ..model()
    };
    let teacher = || Teacher {
        parameters: parameters(&teacher, 9),
        config: teacher.clone(),
    };
    let mut batches = Batches::new(&data(), 32, 1, 50).unwrap();
    let mut losses = |weight: f64, temperature: f64| {
        let settings = TrainConfig {
            distill_weight: weight,
            distill_temperature: temperature,
            ..train(20)
        };
        let mut trainer = from(parameters(&model(), 5), settings, Some(teacher()));
        let mut all = Vec::new();
        for _ in 0..20 {
            pollster::block_on(trainer.step(&mut batches, true)).unwrap();
            all.push(
                pollster::block_on(trainer.divergence())
                    .unwrap()
                    .unwrap()
                    .kl,
            );
        }
        assert_eq!(pollster::block_on(trainer.divergence()).unwrap(), None);
        all
    };
    let followed = losses(1.0, 1.0);
    let ignored = losses(0.0, 1.0);
    assert!(followed[19] < 0.7 * followed[0], "{followed:?}");
    assert!(followed[19] < 0.5 * ignored[19], "{followed:?} {ignored:?}");
    assert_ne!(followed, losses(0.5, 1.0));
    assert_ne!(followed, losses(1.0, 2.0));
}

#[test]
fn relations_follow_the_teachers_in_the_layer_that_is_chosen() {
    let teacher = || Teacher {
        parameters: parameters(&model(), 9),
        config: model(),
    };
    let mut batches = Batches::new(&data(), 32, 1, 50).unwrap();
    let mut divergences = |distill_relations, distill_relation_layer| {
        let settings = TrainConfig {
            distill_weight: 0.0,
            distill_relations,
            distill_relation_layer,
            ..train(20)
        };
        let mut trainer = from(parameters(&model(), 5), settings, Some(teacher()));
        let mut all = Vec::new();
        for _ in 0..20 {
            pollster::block_on(trainer.step(&mut batches, true)).unwrap();
            let found = pollster::block_on(trainer.divergence()).unwrap().unwrap();
            all.push(found.relations);
        }
        all
    };
    let followed = divergences([20.0; 3], None);
    let barely = divergences([1e-6; 3], None);
    let (first, last) = (followed[0].unwrap(), followed[19].unwrap());
    assert!(last < first && last < barely[19].unwrap(), "{followed:?}");
    assert_eq!(followed[0], barely[0]);
    assert_ne!(followed[0], divergences([20.0; 3], Some(0))[0]);
    assert_ne!(followed[0], divergences([20.0, 0.0, 20.0], None)[0]);
    assert_eq!(divergences([0.0; 3], None)[0], None);
}

#[test]
fn a_teacher_whose_heads_do_not_fit_is_refused() {
    let refused = |settings: TrainConfig, teacher: ModelConfig, words: &str| {
        let start = Start {
            teacher: Some(Teacher {
                parameters: parameters(&teacher, 1),
                config: teacher,
            }),
            ..Start::default()
        };
        let backend = Box::new(CpuBackend::new(1));
        let Err(e) = Trainer::from_start(backend, model(), settings, start) else {
            panic!("accepted");
        };
        assert!(e.to_string().contains(words), "{e}");
    };
    let settings = TrainConfig {
        distill_relations: [1.0; 3],
        ..train(1)
    };
    let narrow = ModelConfig {
        num_heads: 1,
        num_kv_heads: None,
        head_dim: Some(2 * model().num_heads + 1),
        use_rope: false,
        ..model()
    };
    refused(settings.clone(), narrow, "no multiple of the student's");
    let layer = TrainConfig {
        distill_relation_layer: Some(99),
        ..settings
    };
    refused(layer, model(), "distill_relation_layer is 99");
}

#[test]
fn a_teacher_that_does_not_fit_is_refused() {
    let refused = |teacher: ModelConfig, words: &str| {
        let start = Start {
            teacher: Some(Teacher {
                parameters: parameters(&teacher, 1),
                config: teacher,
            }),
            ..Start::default()
        };
        let backend = Box::new(CpuBackend::new(1));
        let Err(e) = Trainer::from_start(backend, model(), train(1), start) else {
            panic!("accepted");
        };
        assert!(e.to_string().contains(words), "{e}");
    };
    refused(
        ModelConfig {
            vocab_size: 51,
            ..model()
        },
        "51 tokens",
    );
    refused(
        ModelConfig {
            max_seq_len: 16,
            ..model()
        },
        "context is 16",
    );
}
