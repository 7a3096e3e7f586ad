//! Deterministic random numbers: SplitMix64 (Steele et al. 2014). Streams are derived from a seed
//! and a name or counters, so nothing but those has to be saved to resume.

/// A stream of random numbers; a clone goes on where it is.
#[derive(Clone, Debug)]
pub struct Rng(u64);

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Rng {
    /// The stream of `seed` itself.
    pub fn new(seed: u64) -> Self {
        Rng(mix(seed ^ 0x9e37_79b9_7f4a_7c15))
    }

    /// The stream of `seed` for `name` (FNV-1a).
    pub fn named(seed: u64, name: &str) -> Self {
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
        });
        Rng(mix(mix(seed).wrapping_add(hash)))
    }

    /// The stream of `seed` for some counters.
    pub fn counted(seed: u64, counters: &[u64]) -> Self {
        Rng(counters.iter().fold(mix(seed), |h, c| {
            mix(h ^ c.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        }))
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in 0..n.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(n)) >> 64) as u64
    }

    /// Standard normal (Box & Muller).
    pub fn normal(&mut self) -> f32 {
        let r = libm::sqrt(-2.0 * libm::log(1.0 - self.uniform()));
        (r * libm::cos(core::f64::consts::TAU * self.uniform())) as f32
    }
}

/// The `i`-th element of a pseudo-random permutation of 0..n, without storing it: a four-round
/// Feistel network on the next even number of bits, walked until it lands below n.
pub fn permute(i: u64, n: u64, key: u64) -> u64 {
    let half = (64 - n.saturating_sub(1).leading_zeros())
        .div_ceil(2)
        .max(1);
    let mask = (1u64 << half) - 1;
    let mut x = i;
    loop {
        let (mut left, mut right) = (x >> half, x & mask);
        for round in 0..4u64 {
            let f = mix(right ^ mix(key.wrapping_add(round))) & mask;
            (left, right) = (right, left ^ f);
        }
        x = left << half | right;
        if x < n {
            return x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutations_are_complete_and_depend_on_the_key() {
        for n in [1u64, 2, 3, 10, 257, 1000] {
            let mut seen: Vec<u64> = (0..n).map(|i| permute(i, n, 7)).collect();
            let first = seen.clone();
            seen.sort_unstable();
            assert_eq!(seen, (0..n).collect::<Vec<_>>());
            if n > 100 {
                assert_ne!(first, (0..n).map(|i| permute(i, n, 8)).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn normals_have_unit_variance() {
        let mut rng = Rng::named(1, "x");
        let v: Vec<f32> = (0..20_000).map(|_| rng.normal()).collect();
        let mean = v.iter().sum::<f32>() / v.len() as f32;
        let var = v.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / v.len() as f32;
        assert!(
            mean.abs() < 0.03 && (var - 1.0).abs() < 0.05,
            "{mean} {var}"
        );
    }
}
