//! Requests that wait for their responses, matched by the ids that both carry.
//!
//! A worker answers some requests at once and others in turn, and a response may come when nobody
//! waits for it any more.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

/// No worker of the page is ever asked under the same id twice: a late response meets nobody else's
/// request.
static NEXT_ID: AtomicU32 = AtomicU32::new(1);

/// What handles the responses, by the id of the request.
pub struct Requests<H> {
    waiting: BTreeMap<u32, H>,
}

impl<H> Default for Requests<H> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
        }
    }
}

impl<H: Clone> Requests<H> {
    /// The id of a new request, whose responses `handler` takes.
    pub fn enter(&mut self, handler: H) -> u32 {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        self.waiting.insert(id, handler);
        id
    }

    /// What handles a response; nothing if nobody waits for it.
    pub fn handler(&self, id: u32) -> Option<H> {
        self.waiting.get(&id).cloned()
    }

    /// The request is done, or nobody waits for it any more.
    pub fn forget(&mut self, id: u32) {
        self.waiting.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_in_any_order_reach_their_askers() {
        let mut requests = Requests::default();
        let load = requests.enter("load");
        let weights = requests.enter("weights");
        assert_eq!(requests.handler(weights), Some("weights"));
        assert_eq!(requests.handler(load), Some("load"));
        // A response that ends nothing leaves the request waiting.
        requests.forget(weights);
        assert_eq!(requests.handler(load), Some("load"));
    }

    #[test]
    fn responses_nobody_waits_for_are_dropped() {
        let mut requests = Requests::default();
        let stopped = requests.enter("stopped");
        let next = requests.enter("next");
        requests.forget(stopped);
        assert_eq!(requests.handler(stopped), None);
        assert_eq!(requests.handler(next), Some("next"));
        // Its end comes all the same.
        requests.forget(stopped);
        assert_eq!(requests.handler(next), Some("next"));
    }

    #[test]
    fn no_id_is_used_twice() {
        let mut before = Requests::default();
        let old = before.enter("old worker's");
        drop(before);
        let mut requests = Requests::default();
        let new = requests.enter("new worker's");
        assert_ne!(old, new);
        assert_eq!(requests.handler(old), None);
    }
}
