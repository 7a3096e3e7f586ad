//! Where training batches come from.

#[cfg(feature = "native")]
use super::StreamPlace;
use crate::error::{Error, Result};

/// Gives the windows of a training, in an order that does not depend on how it was interrupted.
pub trait BatchSource: Send {
    /// Inputs and targets (the inputs, one later; [`NO_TARGET`] for what is not learnt) of windows
    /// `first..first + count` of the endless order, appended to `ids` and `targets`. A training
    /// asks for windows one after another.
    ///
    /// # Errors
    /// Data that cannot be read, or ids that are not below the model's vocabulary.
    fn fill(
        &mut self,
        first: u64,
        count: usize,
        ids: &mut Vec<u32>,
        targets: &mut Vec<u32>,
    ) -> Result<()>;

    /// What a resumed training needs beside the number of windows used.
    #[cfg(feature = "native")]
    fn place(&self) -> Option<StreamPlace> {
        None
    }
}

/// Set in an id of the data that is read, but not learnt from. No vocabulary has as many tokens.
pub const CONTEXT: u32 = 1 << 31;
/// A target that no loss is counted of.
pub const NO_TARGET: u32 = u32::MAX;

/// Append a window of `seq + 1` ids as inputs and targets.
pub(super) fn push_window(
    window: &[u32],
    vocab: u32,
    ids: &mut Vec<u32>,
    targets: &mut Vec<u32>,
) -> Result<()> {
    let id_of = |marked: &u32| marked & !CONTEXT;
    if let Some(id) = window.iter().map(id_of).find(|id| *id >= vocab) {
        return Err(Error::Data(format!(
            "the data has token {id}, but vocab_size is {vocab}; was it made with another tokenizer?"
        )));
    }
    let (inputs, next) = (&window[..window.len() - 1], &window[1..]);
    ids.extend(inputs.iter().map(id_of));
    targets.extend(next.iter().map(|marked| match marked & CONTEXT {
        0 => *marked,
        _ => NO_TARGET,
    }));
    Ok(())
}

/// What to say of data that has no window.
pub(super) fn too_short(tokens: usize, seq: usize) -> Error {
    Error::Data(format!(
        "the data has {tokens} tokens; sequences of {seq} need at least {}. Give more text or a smaller seq_len",
        2 * seq + 1
    ))
}
