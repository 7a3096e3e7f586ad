//! Repetition penalty and the largest logits.

/// See [`crate::program::Op::Penalize`].
pub fn penalize(logits: &mut [f32], recent: &[u32], penalty: f32) {
    for id in recent {
        if let Some(l) = logits.get_mut(*id as usize) {
            *l = if *l > 0.0 { *l / penalty } else { *l * penalty };
        }
    }
}

/// The `ids.len()` largest logits, largest first; the lower id wins a tie.
pub fn top_k(logits: &[f32], ids: &mut [u32], values: &mut [f32]) {
    let k = ids.len();
    let order = |a: &u32, b: &u32| {
        logits[*b as usize]
            .total_cmp(&logits[*a as usize])
            .then(a.cmp(b))
    };
    let mut all: Vec<u32> = (0..logits.len() as u32).collect();
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
