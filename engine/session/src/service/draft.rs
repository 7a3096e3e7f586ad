//! Guesses at what comes next, from what a text has said before: the tokens that followed the last
//! few when they stood there the last time ("prompt lookup", Saxena 2023). A guess costs a row of
//! the step that checks it, and changes nothing in the text.

/// Tokens that have to agree, the most telling first.
const NGRAMS: [usize; 3] = [4, 3, 2];
/// Tokens of a guess at most: with the one before them as many rows as one product takes.
const MOST: usize = 7;
/// How much a new observation counts.
const WEIGHT: f32 = 0.25;
/// Below this share of guesses that hold, none is made.
const WORTH: f32 = 0.35;
/// Then one token is guessed now and then, to see whether the text has become one that repeats.
const PROBE: usize = 16;

/// Guesses for one reply.
#[derive(Debug)]
pub(super) struct Draft {
    /// Share of guessed tokens that were right, lately.
    held: f32,
    /// Steps without a guess.
    without: usize,
}

impl Draft {
    pub fn new() -> Self {
        Draft {
            held: 0.5,
            without: 0,
        }
    }

    /// What may follow `ids`: `room` tokens at most.
    pub fn guess(&mut self, ids: &[u32], room: usize) -> Vec<u32> {
        let length = match self.held >= WORTH {
            true => (self.held * MOST as f32).ceil() as usize,
            false if self.without >= PROBE => 1,
            false => 0,
        };
        let found = match length.min(room) {
            0 => Vec::new(),
            length => lookup(ids, length),
        };
        match found.is_empty() {
            true => self.without += 1,
            false => self.without = 0,
        }
        found
    }

    /// Of the `guessed` tokens the first `right` came.
    pub fn learn(&mut self, guessed: usize, right: usize) {
        if guessed > 0 {
            let share = right as f32 / guessed as f32;
            self.held += WEIGHT * (share - self.held);
        }
    }
}

/// What followed the last tokens of `ids` where they stood before, the last time.
fn lookup(ids: &[u32], length: usize) -> Vec<u32> {
    for n in NGRAMS {
        let Some(before) = ids.len().checked_sub(n + 1) else {
            continue;
        };
        let last = &ids[ids.len() - n..];
        let found = (0..=before).rev().find(|at| &ids[*at..at + n] == last);
        if let Some(at) = found {
            let rest = &ids[at + n..];
            return rest[..rest.len().min(length)].to_vec();
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_followed_before_is_guessed() {
        let text = [1, 2, 3, 4, 5, 6, 9, 2, 3];
        assert_eq!(lookup(&text, 3), [4, 5, 6]);
        assert_eq!(lookup(&text, 9), [4, 5, 6, 9, 2, 3]);
        // The last time counts.
        assert_eq!(lookup(&[1, 2, 3, 1, 2, 4, 1, 2], 1), [4]);
        assert_eq!(lookup(&[7, 7, 7], 5), [7]);
        for none in [&[][..], &[1], &[1, 2], &[1, 2, 3]] {
            assert!(lookup(none, 4).is_empty());
        }
    }

    #[test]
    fn guesses_become_longer_where_they_hold_and_stop_where_they_do_not() {
        let text = [vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 10], vec![1, 2]].concat();
        let mut draft = Draft::new();
        assert_eq!(draft.guess(&text, 99).len(), 4);
        for _ in 0..20 {
            draft.learn(4, 4);
        }
        assert_eq!(draft.guess(&text, 99).len(), MOST);
        assert_eq!(draft.guess(&text, 2).len(), 2);
        for _ in 0..20 {
            draft.learn(4, 0);
        }
        let tried: usize = (0..PROBE + 1).map(|_| draft.guess(&text, 99).len()).sum();
        assert_eq!(tried, 1, "a probe");
        draft.learn(1, 1);
        draft.learn(1, 1);
        assert!(draft.guess(&text, 99).len() > 1);
    }
}
