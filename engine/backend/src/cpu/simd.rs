//! Run-time choice of instruction set.

/// What the machine can do, best last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Plain Rust, correct everywhere.
    Portable,
    #[cfg(target_arch = "wasm32")]
    Simd128,
    /// The module loads only where the engine has these instructions.
    #[cfg(all(target_arch = "wasm32", feature = "relaxed-simd"))]
    RelaxedSimd,
    /// The same module, on a processor without an instruction for its dot products.
    #[cfg(all(target_arch = "wasm32", feature = "relaxed-simd"))]
    RelaxedPairs,
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// NEON with dot products of bytes (ARMv8.2).
    #[cfg(target_arch = "aarch64")]
    NeonDot,
    /// The same with products of matrices of bytes (i8mm, ARMv8.6).
    #[cfg(target_arch = "aarch64")]
    NeonI8mm,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    /// AVX-512 VNNI with the matrix unit for float products.
    #[cfg(target_arch = "x86_64")]
    Amx,
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Level::Portable => "portable",
            #[cfg(target_arch = "wasm32")]
            Level::Simd128 => "wasm SIMD128",
            #[cfg(all(target_arch = "wasm32", feature = "relaxed-simd"))]
            Level::RelaxedSimd => "wasm relaxed SIMD",
            #[cfg(all(target_arch = "wasm32", feature = "relaxed-simd"))]
            Level::RelaxedPairs => "wasm relaxed SIMD in pairs",
            #[cfg(target_arch = "aarch64")]
            Level::Neon => "NEON",
            #[cfg(target_arch = "aarch64")]
            Level::NeonDot => "NEON dot",
            #[cfg(target_arch = "aarch64")]
            Level::NeonI8mm => "NEON i8mm",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => "AVX2",
            #[cfg(target_arch = "x86_64")]
            Level::AvxVnni => "AVX-VNNI",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Vnni => "AVX-512 VNNI",
            #[cfg(target_arch = "x86_64")]
            Level::Amx => "AMX",
        }
    }

    /// Every level this machine has, best first; tests run them all against each other.
    pub fn available() -> Vec<Level> {
        let mut levels = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2");
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni")
            {
                if super::amx::available() {
                    levels.push(Level::Amx);
                }
                levels.push(Level::Avx512Vnni);
            }
            if avx2 && is_x86_feature_detected!("avxvnni") {
                levels.push(Level::AvxVnni);
            }
            if avx2 {
                levels.push(Level::Avx2);
            }
        }
        #[cfg(all(target_arch = "wasm32", feature = "relaxed-simd"))]
        {
            levels.extend([Level::RelaxedPairs, Level::RelaxedSimd]);
            if !super::int::wasm::pairs_are_faster() {
                levels.reverse();
            }
        }
        #[cfg(target_arch = "wasm32")]
        if cfg!(target_feature = "simd128") {
            levels.push(Level::Simd128);
        }
        #[cfg(target_arch = "aarch64")]
        {
            if std::arch::is_aarch64_feature_detected!("dotprod") {
                if std::arch::is_aarch64_feature_detected!("i8mm") {
                    levels.push(Level::NeonI8mm);
                }
                levels.push(Level::NeonDot);
            }
            levels.push(Level::Neon);
        }
        levels.push(Level::Portable);
        levels
    }

    /// The level that `ONEBIT_SIMD` names, whatever its case and punctuation ("avx2", "AVX-512
    /// VNNI"); the best one where it is not set.
    ///
    /// # Errors
    /// A name that is none, or a level that this machine has not.
    pub fn chosen() -> Result<Level, String> {
        let available = Level::available();
        let wanted = std::env::var_os("ONEBIT_SIMD").unwrap_or_default();
        if wanted.is_empty() {
            return Ok(available[0]);
        }
        let plain = |name: &str| -> String {
            let letters = name.chars().filter(char::is_ascii_alphanumeric);
            letters.map(|c| c.to_ascii_lowercase()).collect()
        };
        let wanted = wanted.to_string_lossy();
        let found = available.iter().find(|l| plain(l.name()) == plain(&wanted));
        found.copied().ok_or_else(|| {
            let names: Vec<&str> = available.iter().map(|l| l.name()).collect();
            format!(
                "ONEBIT_SIMD={wanted}: this machine has no such level; it has {}",
                names.join(", ")
            )
        })
    }

    /// The [chosen](Self::chosen) level, found once; the best one if `ONEBIT_SIMD` is wrong, which
    /// programs check when they start.
    pub fn best() -> Level {
        static BEST: std::sync::OnceLock<Level> = std::sync::OnceLock::new();
        *BEST.get_or_init(|| {
            Level::chosen().unwrap_or_else(|e| {
                log::warn!("{e}; the best is used");
                Level::available()[0]
            })
        })
    }
}

/// Compile a function once per instruction set, from one body. Rust neither reorders nor contracts
/// float arithmetic, so every version gives the same bits; only the vector width differs.
macro_rules! multiversion {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn body($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
                #[allow(clippy::too_many_arguments)]
                fn avx512($($arg: $ty),*) $(-> $ret)? { body($($arg),*) }
                #[target_feature(enable = "avx2")]
                #[allow(clippy::too_many_arguments)]
                fn avx2($($arg: $ty),*) $(-> $ret)? { body($($arg),*) }
                use $crate::cpu::simd::Level;
                match Level::best() {
                    // SAFETY: the level was detected on this machine (every AVX-512 VNNI processor
                    // has AVX-512 DQ).
                    Level::Amx | Level::Avx512Vnni => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    Level::AvxVnni | Level::Avx2 => return unsafe { avx2($($arg),*) },
                    Level::Portable => {}
                }
            }
            body($($arg),*)
        }
    };
}
pub(crate) use multiversion;
