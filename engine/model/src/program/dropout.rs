//! Which elements dropout keeps: a function of a seed and a position, so that the backward, another
//! backend and a resumed run find the same mask without storing it.

/// The mask of one use of dropout in one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropoutMask {
    key: u32,
    /// Elements whose hash is below this are dropped: rate·2³².
    threshold: u32,
}

/// Bijective 32-bit hash "lowbias32" (Wellons 2018).
#[inline(always)]
fn hash(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(0x7feb_352d);
    x ^= x >> 15;
    x = x.wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

impl DropoutMask {
    /// `seed` differs from run to run, `stream` from use to use within a program; `rate` in [0, 1).
    pub fn new(seed: u32, stream: u32, rate: f32) -> Self {
        DropoutMask {
            key: hash(seed ^ hash(stream.wrapping_add(0x9e37_79b9))),
            threshold: Self::threshold(rate),
        }
    }

    /// What the hash of an element that is kept reaches.
    pub fn threshold(rate: f32) -> u32 {
        (f64::from(rate) * 4_294_967_296.0) as u32
    }

    /// Factor of the elements kept.
    pub fn scale(rate: f32) -> f32 {
        1.0 / (1.0 - rate)
    }

    /// Whether element `index` of the buffer is kept.
    #[inline(always)]
    pub fn keeps(&self, index: u32) -> bool {
        hash(index.wrapping_add(self.key)) >= self.threshold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_kept_is_as_asked_and_masks_differ() {
        const N: u32 = 100_000;
        let kept = |m: DropoutMask| (0..N).map(|i| m.keeps(i)).collect::<Vec<_>>();
        for rate in [0.0f32, 0.1, 0.5, 0.9] {
            let share = kept(DropoutMask::new(7, 3, rate))
                .iter()
                .filter(|k| **k)
                .count() as f32
                / N as f32;
            // Five standard deviations of a binomial of this size.
            assert!((share - (1.0 - rate)).abs() < 0.008, "{rate}: {share}");
        }
        let a = kept(DropoutMask::new(7, 3, 0.5));
        for other in [DropoutMask::new(8, 3, 0.5), DropoutMask::new(7, 4, 0.5)] {
            let equal =
                a.iter().zip(kept(other)).filter(|(a, b)| **a == *b).count() as f32 / N as f32;
            assert!((equal - 0.5).abs() < 0.008, "{equal}");
        }
    }
}
