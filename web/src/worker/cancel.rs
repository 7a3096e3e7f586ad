//! Giving up a load.

use std::cell::RefCell;
use std::rc::Rc;

use web_sys::{AbortController, AbortSignal};

/// Gives up the load that runs, from a message handler, while it runs.
#[derive(Clone, Default)]
pub struct Cancel(Rc<RefCell<Option<AbortController>>>);

impl Cancel {
    /// The signal of a load that begins.
    pub fn begin(&self) -> Option<AbortSignal> {
        let controller = AbortController::new().ok();
        let signal = controller.as_ref().map(AbortController::signal);
        *self.0.borrow_mut() = controller;
        signal
    }

    /// From here on there is nothing to give up.
    pub fn end(&self) {
        *self.0.borrow_mut() = None;
    }

    pub fn cancel(&self) {
        if let Some(controller) = &*self.0.borrow() {
            controller.abort();
        }
    }
}

/// Whether the load that has this signal was given up.
pub fn is_cancelled(signal: Option<&AbortSignal>) -> bool {
    signal.is_some_and(AbortSignal::aborted)
}
