//! Finding a conversation by what was said in it.

use std::collections::HashMap;

use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;

use super::record::Head;
use super::{Chat, use_chat};

/// A handle of signals, copied freely.
#[derive(Clone, Copy)]
pub struct Search {
    chat: Chat,
    pub query: RwSignal<String>,
    /// The ids of those with the query in their name or in what was said; none: nothing is looked
    /// for.
    found: RwSignal<Option<Vec<String>>>,
    /// What was read before, by id: its revision, and all of its text in lower case.
    texts: StoredValue<HashMap<String, (u32, String)>>,
    round: StoredValue<usize>,
}

impl Search {
    pub fn new() -> Self {
        let search = Self {
            chat: use_chat(),
            query: RwSignal::new(String::new()),
            found: RwSignal::new(None),
            texts: StoredValue::new(HashMap::new()),
            round: StoredValue::new(0),
        };
        Effect::new(move |_| {
            let query = search.query.with(|query| query.trim().to_lowercase());
            let heads = search.chat.kept.heads.get();
            search.round.update_value(|round| *round += 1);
            if query.is_empty() {
                return search.found.set(None);
            }
            spawn_local(search.look_for(query, heads, search.round.get_value()));
        });
        search
    }

    /// Those to be listed.
    pub fn heads(self) -> Vec<Head> {
        let mut heads = self.chat.kept.heads.get();
        self.found.with(|found| {
            if let Some(found) = found {
                heads.retain(|head| found.contains(&head.id));
            }
        });
        heads
    }

    async fn look_for(self, query: String, heads: Vec<Head>, round: usize) {
        let mut found = Vec::new();
        for head in heads {
            let title = head.title.to_lowercase().contains(&query);
            if title || self.text(&head).await.contains(&query) {
                found.push(head.id);
            }
            // The reader wrote on, or left.
            if self.round.try_get_value() != Some(round) {
                return;
            }
        }
        self.found.set(Some(found));
    }

    /// All that was said; nothing where it can't be read.
    async fn text(self, head: &Head) -> String {
        let known = self.texts.with_value(|texts| {
            let known = texts.get(&head.id);
            known
                .filter(|(revision, _)| *revision == head.revision)
                .cloned()
        });
        if let Some((_, text)) = known {
            return text;
        }
        let record = self.chat.kept.read(&head.id).await;
        let text: String = record.map_or_else(
            |_| String::new(),
            |record| {
                let messages = record.messages.iter();
                let texts: Vec<String> = messages
                    .map(|message| message.content.to_lowercase())
                    .collect();
                texts.join("\n")
            },
        );
        let kept = (head.revision, text.clone());
        self.texts
            .try_update_value(|texts| texts.insert(head.id.clone(), kept));
        text
    }
}
