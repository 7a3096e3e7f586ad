//! What a trainer does with the other [ranks](ternary_common::ranks).

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::trainer::Trainer;
use crate::error::{Error, Result};
use ternary_common::ranks::{LinkError, Ranks};

impl Trainer {
    /// Train with others from now on. All are recorded from the same config, and give their steps
    /// the same data.
    ///
    /// # Errors
    /// Fewer micro-batches than ranks, or preference pairs, whose figures are not summed over
    /// ranks.
    pub fn join(&mut self, ranks: Ranks) -> Result<()> {
        let (micro, size) = (self.train.accumulation_steps, ranks.size());
        if micro < size {
            return Err(Error::FewMicroBatches { micro, ranks: size });
        }
        if size > 1 && self.train.preference.is_some() {
            return Err(Error::PreferenceRanks { ranks: size });
        }
        self.ranks = (size > 1).then_some(ranks);
        Ok(())
    }

    /// The ranks, where gradients are summed over them.
    pub(super) fn together(&mut self) -> Option<&mut Ranks> {
        let local = self.train.sync_every > 0;
        self.ranks.as_mut().filter(|_| !local)
    }

    pub(super) fn rank_error(&self, cause: LinkError) -> Error {
        let (rank, size) = self.place();
        Error::Rank { rank, size, cause }
    }

    /// A small value of rank 0, for all.
    pub(super) fn told<T: Clone + Serialize + DeserializeOwned>(&mut self, value: &T) -> Result<T> {
        let Some(ranks) = &mut self.ranks else {
            return Ok(value.clone());
        };
        let bytes = serde_json::to_vec(value).map_err(|e| Error::Serialize(e.to_string()))?;
        let bytes = ranks.tell(bytes).map_err(|e| self.rank_error(e))?;
        serde_json::from_slice(&bytes).map_err(|e| Error::Serialize(e.to_string()))
    }

    /// Refuse to train another model, by other rules or on other data than rank 0.
    pub(super) fn same_as_first(&mut self, data: u32) -> Result<()> {
        // What is trained is rank 0's; what stays frozen each has read by itself.
        let base = self.base().and_then(|base| base.checksum);
        let base = base.map(|checksum| format!("{checksum:?}"));
        let mine = [
            ("model configuration", json!(self.config)),
            ("training configuration", json!(self.train)),
            ("model to start from", json!(base)),
            ("teacher", json!(self.teacher())),
            ("training text", json!(data)),
        ];
        let values: Vec<_> = mine.iter().map(|(_, value)| value.clone()).collect();
        let first: Vec<serde_json::Value> = self.told(&values)?;
        let (rank, _) = self.place();
        let other = mine.iter().zip(&first).find(|((_, m), f)| m != *f);
        match other {
            Some(((what, _), _)) => Err(Error::RankDiffers { rank, what }),
            None => Ok(()),
        }
    }

    /// Bring all ranks to where rank 0 is: its parameters, what its optimizer keeps, its step.
    pub(super) async fn share(&mut self) -> Result<()> {
        if self.ranks.is_none() {
            return Ok(());
        }
        self.step = self.told(&self.step.clone())?;
        let leads = self.leads();
        for p in self.trained() {
            for name in self.parts(&p) {
                let mut bytes = Vec::new();
                if leads {
                    bytes = self.backend.download(&name).await?;
                }
                if let Some(ranks) = &mut self.ranks {
                    let told = ranks.tell(bytes);
                    let bytes = told.map_err(|e| self.rank_error(e))?;
                    if !leads {
                        self.backend.upload(&name, &bytes)?;
                    }
                }
            }
        }
        Ok(())
    }
}
