//! Repetition penalty and the largest logits.

use super::vectors;

/// See [`ternary_model::program::Op::Penalize`].
pub fn penalize(logits: &mut [f32], recent: &[u32], penalty: f32) {
    let mut distinct = recent.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    for id in distinct {
        if let Some(l) = logits.get_mut(id as usize) {
            *l = if *l > 0.0 { *l / penalty } else { *l * penalty };
        }
    }
}

/// Logits of which the largest is looked for first.
const BLOCK: usize = 64;

/// The `ids.len()` largest logits, largest first; the lower id wins a tie.
pub fn top_k(logits: &[f32], ids: &mut [u32], values: &mut [f32]) {
    let k = ids.len();
    let order = |a: &u32, b: &u32| {
        logits[*b as usize]
            .total_cmp(&logits[*a as usize])
            .then(a.cmp(b))
    };
    // Where k blocks have a logit of this size, none of the k largest is smaller.
    let mut largest: Vec<f32> = logits.chunks(BLOCK).map(vectors::max).collect();
    let least = if k <= largest.len() {
        let (_, least, _) = largest.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
        *least
    } else {
        f32::NEG_INFINITY
    };
    // What is no number is not smaller.
    let smaller = |id: &u32| logits[*id as usize] < least;
    let mut all: Vec<u32> = (0..logits.len() as u32).filter(|id| !smaller(id)).collect();
    if k < all.len() {
        all.select_nth_unstable_by(k - 1, order);
        all.truncate(k);
    }
    all.sort_unstable_by(order);
    for (slot, id) in all.into_iter().enumerate() {
        ids[slot] = id;
        values[slot] = logits[id as usize];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_logits_in_order() {
        let mut state = 1u32;
        for len in [1usize, 63, 64, 65, 400, 1000, 4097] {
            // Few values, so that many tie; now and then one that is no number, and both zeros.
            let logits: Vec<f32> = (0..len)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    match state >> 24 {
                        0 => f32::NAN,
                        1 => -0.0,
                        v => (v % 37) as f32 - 30.0,
                    }
                })
                .collect();
            let mut sorted: Vec<u32> = (0..len as u32).collect();
            sorted.sort_by(|a, b| {
                let (x, y) = (logits[*a as usize], logits[*b as usize]);
                y.total_cmp(&x).then(a.cmp(b))
            });
            for k in [1, 2, 15, 16, 17, 64, len]
                .into_iter()
                .filter(|k| *k <= len)
            {
                let (mut ids, mut values) = (vec![0; k], vec![0.0; k]);
                top_k(&logits, &mut ids, &mut values);
                assert_eq!(ids, sorted[..k], "{k} of {len}");
                let bits = |v: f32| v.to_bits();
                let expected = ids.iter().map(|id| bits(logits[*id as usize]));
                assert!(values.into_iter().map(bits).eq(expected));
            }
        }
    }
}
