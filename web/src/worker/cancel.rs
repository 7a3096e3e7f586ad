//! Giving up loads and imports.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use web_sys::{AbortController, AbortSignal};

use crate::protocol::RequestId;

/// Which requests were given up, told by a message handler while one of them runs. What was loaded
/// is read on later: files ask this rather than keep the signal of the load that opened them.
#[derive(Clone, Default)]
pub struct Cancel(Rc<RefCell<State>>);

#[derive(Default)]
struct State {
    running: Option<(RequestId, AbortController)>,
    /// Given up before they began.
    early: BTreeSet<RequestId>,
}

impl Cancel {
    /// From here on `id` can be given up while it runs.
    pub fn begin(&self, id: RequestId) {
        let state = &mut *self.0.borrow_mut();
        state.running = AbortController::new().ok().map(|aborts| (id, aborts));
        if state.early.remove(&id)
            && let Some((_, controller)) = &state.running
        {
            controller.abort();
        }
        // Requests come in the order of their ids: what was asked before is over.
        state.early.retain(|early| *early > id);
    }

    /// From here on there is nothing to give up.
    pub fn end(&self) {
        self.0.borrow_mut().running = None;
    }

    pub fn cancel(&self, id: RequestId) {
        let state = &mut *self.0.borrow_mut();
        match &state.running {
            Some((running, controller)) if *running == id => controller.abort(),
            _ => drop(state.early.insert(id)),
        }
    }

    /// Ends what `id` asked for, if that runs and can be given up.
    pub fn stop(&self, id: RequestId) {
        if let Some((running, controller)) = &self.0.borrow().running
            && *running == id
        {
            controller.abort();
        }
    }

    /// Ends requests that have it when what runs is given up.
    pub fn signal(&self) -> Option<AbortSignal> {
        let state = self.0.borrow();
        state
            .running
            .as_ref()
            .map(|(_, controller)| controller.signal())
    }

    /// Whether what runs was given up.
    pub fn is_raised(&self) -> bool {
        self.signal().is_some_and(|signal| signal.aborted())
    }
}
