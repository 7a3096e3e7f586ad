//! What a training starts from: given parameters, and a teacher.

use super::trainer::relation_layer;
use crate::error::{Error, Result};
use ternary_backend::Backend;
use ternary_core::config::{ModelConfig, TrainConfig};
use ternary_core::params::{self, Param, ParamKind};
use ternary_core::quant::dequantized;
use ternary_formats::adapter::{Base, base_checksum};
use ternary_model as model;
use ternary_model::program::BufferKind;
use ternary_model::{Parameters, RopeOwner};

/// A model that is only run, never trained.
#[derive(Clone, Debug)]
pub struct Teacher {
    /// Of the teacher; its vocabulary must be the student's.
    pub config: ModelConfig,
    /// Latents.
    pub parameters: Parameters,
}

/// What a training starts from; the default is initial values and no teacher.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// Latents of the model; with adapters, of the frozen base.
    pub parameters: Option<Parameters>,
    /// What to call the model in an adapter's description.
    pub name: String,
    /// Whom to distill from.
    pub teacher: Option<Teacher>,
}

/// Values of a parameter: the given ones, which are taken away, or initial ones.
fn values(
    p: &Param,
    given: Option<&mut Parameters>,
    config: &ModelConfig,
    seed: u64,
) -> Result<Vec<f32>> {
    let Some(given) = given else {
        return Ok(p.init(config, seed));
    };
    given
        .remove(&p.name)
        .filter(|v| v.len() == p.len())
        .ok_or_else(|| Error::StartTensor {
            name: p.name.clone(),
            shape: p.shape.clone(),
        })
}

/// What a forward without quantizers multiplies by.
fn frozen(p: &Param, values: Vec<f32>) -> Vec<f32> {
    match &p.kind {
        ParamKind::Matrix(m) if m.mode.is_quantized() => {
            dequantized(&values, m.rows, m.cols, &m.quant)
        }
        _ => values,
    }
}

fn upload(backend: &mut dyn Backend, kind: BufferKind, name: &str, values: &[f32]) -> Result<()> {
    Ok(backend.upload(&kind.named(name), bytemuck::cast_slice(values))?)
}

fn upload_rope(backend: &mut dyn Backend, config: &ModelConfig, owner: RopeOwner) -> Result<()> {
    for (name, table) in model::rope_tables(config, owner) {
        backend.upload(name, bytemuck::cast_slice(&table))?;
    }
    Ok(())
}

/// Refuse relations that student and teacher cannot have in the same heads.
pub(super) fn check_relations(
    config: &ModelConfig,
    train: &TrainConfig,
    teacher: &ModelConfig,
) -> Result<()> {
    if train.distill_relations.iter().all(|weight| *weight == 0.0) {
        return Ok(());
    }
    let layer = relation_layer(config, train);
    if layer >= config.num_layers {
        return Err(Error::RelationLayer {
            layer,
            layers: config.num_layers,
        });
    }
    for (what, width, heads) in [
        ("queries", teacher.q_dim(), config.num_heads),
        ("keys", teacher.kv_dim(), config.kv_heads()),
    ] {
        if !width.is_multiple_of(heads) {
            return Err(Error::RelationHeads { what, width, heads });
        }
    }
    Ok(())
}

impl Start {
    /// Refuse what cannot be trained from here.
    pub(super) fn check(
        &self,
        config: &ModelConfig,
        train: &TrainConfig,
        seq: usize,
    ) -> Result<()> {
        if let Some(lora) = &train.lora {
            lora.validate(config)?;
        }
        let Some(teacher) = &self.teacher else {
            return Ok(());
        };
        if train.preference.is_some() {
            return Err(Error::PreferenceTeacher);
        }
        let (theirs, ours) = (teacher.config.vocab_size, config.vocab_size);
        if theirs != ours {
            return Err(Error::TeacherVocabulary {
                teacher: theirs,
                student: ours,
            });
        }
        let context = teacher.config.max_seq_len;
        if context < seq {
            return Err(Error::TeacherContext { context, seq });
        }
        check_relations(config, train, &teacher.config)
    }

    /// Bytes of all parameters that are given.
    pub(super) fn bytes(&self) -> u64 {
        let teacher = self.teacher.as_ref().map(|teacher| &teacher.parameters);
        let given = self.parameters.iter().chain(teacher);
        let lengths = given.flat_map(|parameters| parameters.values().map(Vec::len));
        lengths.map(|len| (len * size_of::<f32>()) as u64).sum()
    }

    /// Upload everything that the programs read. What is given goes over tensor by tensor, so that
    /// it is in memory about once.
    pub(super) fn upload(
        &mut self,
        backend: &mut dyn Backend,
        config: &ModelConfig,
        train: &TrainConfig,
    ) -> Result<()> {
        let seed = train.seed;
        for p in params::all(config) {
            let values = values(&p, self.parameters.as_mut(), config, seed)?;
            match train.lora {
                None => upload(backend, BufferKind::Param, &p.name, &values)?,
                Some(_) => upload(backend, BufferKind::Frozen, &p.name, &frozen(&p, values))?,
            }
        }
        if train.lora.is_some() {
            for p in params::trained(config, train.lora.as_ref()) {
                upload(backend, BufferKind::Param, &p.name, &p.init(config, seed))?;
            }
        }
        upload_rope(backend, config, RopeOwner::Model)?;
        self.upload_teacher(backend, seed)
    }

    /// Upload what the teacher's forward reads, if there is one.
    pub(super) fn upload_teacher(&mut self, backend: &mut dyn Backend, seed: u64) -> Result<()> {
        if let Some(teacher) = &mut self.teacher {
            for p in params::all(&teacher.config) {
                let given = Some(&mut teacher.parameters);
                let values = values(&p, given, &teacher.config, seed)?;
                upload(backend, BufferKind::Teacher, &p.name, &frozen(&p, values))?;
            }
            upload_rope(backend, &teacher.config, RopeOwner::Teacher)?;
        }
        Ok(())
    }

    /// The base that adapters are trained beside.
    pub(super) fn base(&self, config: &ModelConfig, train: &TrainConfig) -> Result<Option<Base>> {
        if train.lora.is_none() {
            return Ok(None);
        }
        let checksum = match &self.parameters {
            Some(given) => base_checksum(config, given),
            None => {
                let initial = params::all(config).into_iter();
                let initial = initial.map(|p| (p.name.clone(), p.init(config, train.seed)));
                base_checksum(config, &initial.collect())
            }
        };
        Ok(Some(Base {
            name: self.name.clone(),
            checksum: Some(checksum),
        }))
    }
}

impl Teacher {
    pub(super) fn checksum(&self) -> u32 {
        base_checksum(&self.config, &self.parameters).codes
    }
}
