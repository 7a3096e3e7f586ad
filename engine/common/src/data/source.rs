//! Where training batches come from.

#[cfg(feature = "native")]
use super::StreamPlace;
use crate::error::{Error, Result};
use ternary_core::words::counted;

/// Windows of a training, one behind the other; all three of equal length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    /// What is read.
    pub ids: Vec<u32>,
    /// What is to be said next: the inputs, one later; [`NO_TARGET`] for what is not learnt.
    pub targets: Vec<u32>,
    /// Of every token its position in its document, or in the window where the document began
    /// before that. Documents begin at [`FIRST`]; without such marks all of a window is one.
    pub positions: Vec<u32>,
}

impl Windows {
    /// Append others.
    pub fn append(&mut self, more: &Windows) {
        self.ids.extend_from_slice(&more.ids);
        self.targets.extend_from_slice(&more.targets);
        self.positions.extend_from_slice(&more.positions);
    }
}

/// Gives the windows of a training, in an order that does not depend on how it was interrupted.
pub trait BatchSource: Send {
    /// Append windows `first..first + count` of the endless order. A training asks for windows one
    /// after another.
    ///
    /// # Errors
    /// Data that cannot be read, or ids that are not below the model's vocabulary.
    fn fill(&mut self, first: u64, count: usize, out: &mut Windows) -> Result<()>;

    /// What a resumed training needs beside the number of windows used.
    #[cfg(feature = "native")]
    fn place(&self) -> Option<StreamPlace> {
        None
    }
}

/// Set in an id of the data that is read, but not learnt from. No vocabulary has as many tokens.
pub const CONTEXT: u32 = 1 << 31;
/// Set in an id of the data that a document begins with, where documents are kept apart.
pub const FIRST: u32 = 1 << 30;
/// A target that no loss is counted of.
pub const NO_TARGET: u32 = u32::MAX;

/// Append a window of `seq + 1` ids as inputs and targets.
pub(super) fn push_window(window: &[u32], vocab: u32, out: &mut Windows) -> Result<()> {
    let id_of = |marked: &u32| marked & !(CONTEXT | FIRST);
    if let Some(id) = window.iter().map(id_of).find(|id| *id >= vocab) {
        return Err(Error::Data(format!(
            "the data has token {id}, but vocab_size is {vocab}; was it made with another tokenizer?"
        )));
    }
    let (inputs, next) = (&window[..window.len() - 1], &window[1..]);
    out.ids.extend(inputs.iter().map(id_of));
    out.targets.extend(next.iter().map(|marked| match marked {
        marked if marked & CONTEXT == 0 => id_of(marked),
        _ => NO_TARGET,
    }));
    let mut position = 0;
    out.positions.extend(inputs.iter().map(|marked| {
        if marked & FIRST != 0 {
            position = 0;
        }
        position += 1;
        position - 1
    }));
    Ok(())
}

/// What to say of conversations of which no word is learnt.
pub(super) fn nothing_learnt() -> Error {
    #[cfg(feature = "native")]
    let instead = "learn all words instead (--train-on all)";
    // The page has no flags.
    #[cfg(not(feature = "native"))]
    let instead = "learn all words instead";
    Error::Data(format!(
        "no conversation has a message of the assistant's, whose words are learnt; {instead}, or give other data"
    ))
}

/// What to say of data that has no window.
pub(super) fn too_short(tokens: usize, seq: usize) -> Error {
    let tokens = counted(tokens, "token");
    Error::Data(format!(
        "the data has {tokens}; sequences of {seq} need at least {}. Give more text or a smaller seq_len",
        2 * seq + 1
    ))
}
