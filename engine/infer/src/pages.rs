//! Pages of a KV cache that sequences share: who has which, and what they hold.

use std::collections::{BTreeMap, HashMap};

use ternary_model::program::PAGE;

/// What a full page holds: its tokens behind what the page before it held.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Contents {
    /// Number of the contents before it; none at the beginning of a text.
    before: Option<u64>,
    /// Keys and values are other ones with another adapter.
    adapter: Option<usize>,
    ids: [u32; PAGE],
}

#[derive(Clone, Debug, Default)]
struct Page {
    /// Sequences that have it.
    users: usize,
    /// What it holds, if others may use it.
    contents: Option<Contents>,
    /// In `idle`.
    since: u64,
}

/// The pages of one sequence.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub pages: Vec<u32>,
    /// Numbers of the contents of the first pages, which are known to others.
    known: Vec<u64>,
    adapter: Option<usize>,
    /// Pages that it may still take.
    reserved: usize,
}

/// All pages of a KV cache.
#[derive(Debug)]
pub(super) struct Pages {
    pages: Vec<Page>,
    /// Without contents, and of nobody.
    free: Vec<u32>,
    /// Full and of nobody: what was used longest ago comes first.
    idle: BTreeMap<u64, u32>,
    /// Page and number of contents.
    known: HashMap<Contents, (u32, u64)>,
    /// Pages that sequences have asked for and do not have yet.
    reserved: usize,
    most: usize,
    clock: u64,
}

impl Pages {
    /// `most` pages at most; they come into being when they are needed.
    pub fn new(most: usize) -> Self {
        Pages {
            pages: Vec::new(),
            free: Vec::new(),
            idle: BTreeMap::new(),
            known: HashMap::new(),
            reserved: 0,
            most,
            clock: 0,
        }
    }

    /// Pages that came into being so far.
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    /// Pages that nobody has or has asked for.
    fn available(&self) -> usize {
        let unmade = self.most - self.pages.len();
        (unmade + self.free.len() + self.idle.len()).saturating_sub(self.reserved)
    }

    /// The pages of a sequence that begins with `ids` and will have `tokens` at most: those that
    /// hold its beginning already, all but the last token at most. None if there are too few.
    pub fn open(&mut self, ids: &[u32], tokens: usize, adapter: Option<usize>) -> Option<Table> {
        let mut table = Table {
            adapter,
            ..Table::default()
        };
        let whole = ids.len().saturating_sub(1) / PAGE;
        let mut shared = Vec::new();
        for ids in ids.as_chunks::<PAGE>().0.iter().take(whole) {
            let contents = Contents {
                before: table.known.last().copied(),
                adapter,
                ids: *ids,
            };
            let Some((page, number)) = self.known.get(&contents) else {
                break;
            };
            shared.push(*page);
            table.known.push(*number);
        }
        let idle = shared
            .iter()
            .filter(|p| self.pages[**p as usize].users == 0);
        let needed = tokens.div_ceil(PAGE).saturating_sub(shared.len());
        if needed + idle.count() > self.available() {
            return None;
        }
        for page in &shared {
            let page = &mut self.pages[*page as usize];
            if page.users == 0 {
                self.idle.remove(&page.since);
            }
            page.users += 1;
        }
        table.pages = shared;
        table.reserved = needed;
        self.reserved += needed;
        Some(table)
    }

    /// Have pages for `tokens` tokens, which [`Pages::open`] was told of.
    pub fn extend(&mut self, table: &mut Table, tokens: usize) {
        while table.pages.len() * PAGE < tokens {
            let page = self.take();
            self.pages[page as usize].users = 1;
            table.pages.push(page);
            table.reserved = table.reserved.saturating_sub(1);
            self.reserved = self.reserved.saturating_sub(1);
        }
    }

    fn take(&mut self) -> u32 {
        if let Some(page) = self.free.pop() {
            return page;
        }
        if self.pages.len() < self.most {
            self.pages.push(Page::default());
            return self.pages.len() as u32 - 1;
        }
        let (_, page) = self
            .idle
            .pop_first()
            .expect("a sequence reserves its pages");
        if let Some(contents) = self.pages[page as usize].contents.take() {
            self.known.remove(&contents);
        }
        page
    }

    /// Tell others of the full pages of a sequence that holds `ids` for good.
    pub fn settle(&mut self, table: &mut Table, ids: &[u32]) {
        let full = ids.as_chunks::<PAGE>().0;
        for (ids, page) in full.iter().zip(&table.pages).skip(table.known.len()) {
            let contents = Contents {
                before: table.known.last().copied(),
                adapter: table.adapter,
                ids: *ids,
            };
            self.clock += 1;
            let new = (*page, self.clock);
            // Two that read the same text at the same time: the first one's is kept.
            let (kept, number) = *self.known.entry(contents.clone()).or_insert(new);
            if kept == *page {
                self.pages[*page as usize].contents = Some(contents);
            }
            table.known.push(number);
        }
    }

    /// Forget what a sequence holds from token `len` on. Returns how many tokens are left: fewer
    /// where others use a page that would be written again.
    pub fn truncate(&mut self, table: &mut Table, len: usize) -> usize {
        let whole = len / PAGE;
        if table.known.len() <= whole {
            return len;
        }
        table.known.truncate(whole);
        let mut left = len;
        // From the end, so that the pages stay in order.
        for at in (whole..table.pages.len()).rev() {
            let number = table.pages[at];
            let page = &mut self.pages[number as usize];
            if page.users > 1 {
                page.users -= 1;
                table.pages.truncate(at);
                table.reserved += 1;
                self.reserved += 1;
                left = whole * PAGE;
            } else if let Some(contents) = page.contents.take() {
                self.known.remove(&contents);
            }
        }
        left
    }

    /// Give all pages of a sequence back; what they hold stays until they are needed.
    pub fn close(&mut self, table: Table) {
        self.reserved -= table.reserved;
        // The end of a text is needed again less often than its beginning.
        for page in table.pages.into_iter().rev() {
            let of = &mut self.pages[page as usize];
            of.users -= 1;
            if of.users > 0 {
                continue;
            }
            if of.contents.is_none() {
                self.free.push(page);
                continue;
            }
            self.clock += 1;
            of.since = self.clock;
            self.idle.insert(self.clock, page);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(n: u32, from: u32) -> Vec<u32> {
        (from..from + n).collect()
    }

    #[test]
    fn beginnings_are_shared_and_kept_until_they_are_needed() {
        let mut pages = Pages::new(6);
        let ids = text(3 * PAGE as u32, 0);
        let mut first = pages.open(&ids, ids.len() + 1, None).unwrap();
        assert!(first.pages.is_empty());
        pages.extend(&mut first, ids.len());
        pages.settle(&mut first, &ids);
        // While the first one has them.
        let second = pages.open(&ids, ids.len() + 1, None).unwrap();
        assert_eq!(
            second.pages,
            first.pages[..2],
            "its last token is read again"
        );
        let longer = [ids.clone(), vec![7]].concat();
        // Another adapter has other keys.
        assert!(
            pages.open(&longer, longer.len(), Some(0)).is_none(),
            "too few pages are left"
        );
        pages.close(second);
        pages.close(first);
        let third = pages.open(&longer, longer.len(), None).unwrap();
        assert_eq!(third.pages.len(), 3);
        pages.close(third);
        // Another text takes all there are; the end of the old one goes first.
        let other = text(4 * PAGE as u32, 5000);
        let mut fourth = pages.open(&other, other.len(), None).unwrap();
        pages.extend(&mut fourth, other.len());
        assert_eq!(pages.len(), 6);
        pages.close(fourth);
        assert_eq!(
            pages.open(&longer, longer.len(), None).unwrap().pages.len(),
            2
        );
    }

    #[test]
    fn a_beginning_with_another_before_it_is_another() {
        let mut pages = Pages::new(8);
        let ids = text(2 * PAGE as u32, 0);
        let mut table = pages.open(&ids, ids.len(), None).unwrap();
        pages.extend(&mut table, ids.len());
        pages.settle(&mut table, &ids);
        let same_end = [text(PAGE as u32, 900), ids[PAGE..].to_vec(), vec![1]].concat();
        assert!(
            pages
                .open(&same_end, same_end.len(), None)
                .unwrap()
                .pages
                .is_empty()
        );
        let adapted = pages.open(&[&ids[..], &[1]].concat(), 65, Some(2)).unwrap();
        assert!(adapted.pages.is_empty());
    }

    #[test]
    fn what_is_forgotten_is_no_longer_shared() {
        let mut pages = Pages::new(40);
        let ids = text(3 * PAGE as u32 + 5, 0);
        let mut one = pages.open(&ids, 200, None).unwrap();
        pages.extend(&mut one, ids.len());
        pages.settle(&mut one, &ids);
        let two = pages.open(&ids, 200, None).unwrap();
        assert_eq!(two.pages.len(), 3);
        // Nobody else has the last page; of the third, two has one, too.
        assert_eq!(pages.truncate(&mut one, 3 * PAGE + 2), 3 * PAGE + 2);
        assert_eq!(pages.truncate(&mut one, 2 * PAGE + 9), 2 * PAGE);
        assert_eq!(one.pages.len(), 2);
        pages.extend(&mut one, 3 * PAGE);
        assert_ne!(one.pages[2], two.pages[2]);
        pages.close(two);
        // Alone, it writes its own pages again, and others do not find them any more.
        assert_eq!(pages.truncate(&mut one, PAGE + 3), PAGE + 3);
        assert_eq!(pages.open(&ids, 200, None).unwrap().pages.len(), 1);
    }

    #[test]
    fn nothing_is_promised_twice() {
        let mut pages = Pages::new(4);
        let a = pages.open(&text(10, 0), 3 * PAGE, None).unwrap();
        assert!(pages.open(&text(10, 0), 2 * PAGE, None).is_none());
        let b = pages.open(&text(10, 0), PAGE, None).unwrap();
        pages.close(a);
        assert!(pages.open(&text(10, 0), 3 * PAGE, None).is_some());
        pages.close(b);
    }
}
