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

    /// How many tokens are worth a guess: `room` at most.
    pub fn length(&self, room: usize) -> usize {
        let length = match self.held >= WORTH {
            true => (self.held * MOST as f32).ceil() as usize,
            false if self.without >= PROBE => 1,
            false => 0,
        };
        length.min(room)
    }

    /// Whether the step has a guess.
    pub fn made(&mut self, guessed: bool) {
        match guessed {
            true => self.without = 0,
            false => self.without += 1,
        }
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
pub(super) fn lookup(ids: &[u32], length: usize) -> Vec<u32> {
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
        let guess = |draft: &mut Draft, room: usize| {
            let found = match draft.length(room) {
                0 => Vec::new(),
                length => lookup(&text, length),
            };
            draft.made(!found.is_empty());
            found.len()
        };
        assert_eq!(guess(&mut draft, 99), 4);
        for _ in 0..20 {
            draft.learn(4, 4);
        }
        assert_eq!(guess(&mut draft, 99), MOST);
        assert_eq!(guess(&mut draft, 2), 2);
        for _ in 0..20 {
            draft.learn(4, 0);
        }
        let tried: usize = (0..PROBE + 1).map(|_| guess(&mut draft, 99)).sum();
        assert_eq!(tried, 1, "a probe");
        draft.learn(1, 1);
        draft.learn(1, 1);
        assert!(guess(&mut draft, 99) > 1);
    }
}
