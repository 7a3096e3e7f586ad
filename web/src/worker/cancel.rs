//! Giving up a load.

use std::cell::RefCell;
use std::rc::Rc;

use web_sys::{AbortController, AbortSignal};

/// Gives up what is under way, from a message handler, while it runs. What was loaded is read on later: files ask this rather than
/// keep the signal of the load that opened them.
#[derive(Clone, Default)]
pub struct Cancel(Rc<RefCell<State>>);

#[derive(Default)]
struct State {
    under_way: Option<AbortController>,
    /// Asked for, not begun.
    waiting: usize,
    /// The next was given up before it began.
    early: bool,
}

impl Cancel {
    /// There will be something to give up.
    pub fn expect(&self) {
        self.0.borrow_mut().waiting += 1;
    }

    /// From here on there is something to give up.
    pub fn begin(&self) {
        let state = &mut *self.0.borrow_mut();
        state.under_way = AbortController::new().ok();
        state.waiting = state.waiting.saturating_sub(1);
        if std::mem::take(&mut state.early)
            && let Some(controller) = &state.under_way
        {
            controller.abort();
        }
    }

    /// From here on there is nothing to give up.
    pub fn end(&self) {
        self.0.borrow_mut().under_way = None;
    }

    pub fn cancel(&self) {
        let state = &mut *self.0.borrow_mut();
        match &state.under_way {
            Some(controller) => controller.abort(),
            None => state.early = state.waiting > 0,
        }
    }

    /// Ends requests that have it when this is given up.
    pub fn signal(&self) -> Option<AbortSignal> {
        let state = self.0.borrow();
        state.under_way.as_ref().map(AbortController::signal)
    }

    /// Whether what is under way was given up.
    pub fn is_raised(&self) -> bool {
        self.signal().is_some_and(|signal| signal.aborted())
    }
}
