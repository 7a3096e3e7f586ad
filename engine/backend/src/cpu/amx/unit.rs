//! The matrix unit itself: whether it is there, its tile registers, and the kernels: 32×32 outputs
//! of floats, sums of codes for up to four times 16 rows and 16 columns.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;

use super::SIDE;

/// Whether this machine and its kernel let us use the unit; asked once.
pub fn available() -> bool {
    static ANSWER: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *ANSWER.get_or_init(|| {
        const BF16: u32 = 1 << 22;
        const TILES: u32 = 1 << 24;
        const INT8: u32 = 1 << 25;
        let leaf = __cpuid_count(7, 0);
        is_x86_feature_detected!("avx512bf16")
            && is_x86_feature_detected!("avx512bw")
            && leaf.edx & (BF16 | TILES | INT8) == BF16 | TILES | INT8
            && permitted()
    })
}

/// Linux gives a process the tile registers' state only when asked (arch_prctl, since 5.16).
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const REQUEST_PERMISSION: u64 = 0x1023;
    const TILE_DATA: u64 = 18;
    let result: i64;
    // SAFETY: a system call that changes nothing but this process's permission; it clobbers rcx and
    // r11 as declared.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") REQUEST_PERMISSION,
            in("rsi") TILE_DATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// `ldtilecfg`'s operand: palette 1, eight tiles of 16 rows × 64 bytes.
#[repr(C, align(64))]
struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

static CONFIG: TileConfig = {
    let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
    let mut i = 0;
    while i < 8 {
        row_bytes[i] = 64;
        rows[i] = 16;
        i += 1;
    }
    TileConfig {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        row_bytes,
        rows,
    }
};

/// The tile registers, configured for this thread until dropped.
pub struct Tiles;

impl Tiles {
    /// SAFETY: [`available`] must have said yes.
    pub unsafe fn configure() -> Self {
        // SAFETY: the configuration is valid (above) and the unit is there and permitted.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG, options(nostack, readonly)) };
        Tiles
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: a `Tiles` exists only where the unit does.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// One pass over `steps` steps, which lie `$a_bytes` and `$b_bytes` apart; each line loads tiles,
/// then they are multiplied.
macro_rules! pass {
    ($a:ident, $b:ident, $steps:ident, $a_bytes:literal, $b_bytes:literal, $($line:expr),+) => {
        asm!(
            "2:",
            $($line, "tdpbf16ps tmm0, tmm4, tmm6", "tdpbf16ps tmm1, tmm4, tmm7", "tdpbf16ps tmm2, tmm5, tmm6", "tdpbf16ps tmm3, tmm5, tmm7",)+
            concat!("add {a}, ", $a_bytes),
            concat!("add {b}, ", $b_bytes),
            "dec {n}",
            "jnz 2b",
            a = inout(reg) $a => _, b = inout(reg) $b => _, n = inout(reg) $steps => _, s = in(reg) 64usize,
            options(nostack, readonly),
        )
    };
}

/// Both tiles of a piece into the registers of `a` or `b`; `at` is the piece's byte in the step.
macro_rules! load_a {
    ($at:literal, $next:literal) => {
        concat!(
            "tileloadd tmm4, [{a} + {s}*1 + ",
            $at,
            "]\ntileloadd tmm5, [{a} + {s}*1 + ",
            $next,
            "]"
        )
    };
}
macro_rules! load_b {
    ($at:literal, $next:literal) => {
        concat!(
            "tileloadd tmm6, [{b} + {s}*1 + ",
            $at,
            "]\ntileloadd tmm7, [{b} + {s}*1 + ",
            $next,
            "]"
        )
    };
}

/// `c[32 × 32] (+)= a·b` over `steps` steps; `stride` is the bytes between rows of `c`.
///
/// SAFETY: the tiles are configured; `a` and `b` hold `steps` steps of `A` and `B` pieces, (1, 1),
/// (2, 1), (3, 1), (2, 2) or (3, 3); 32 rows of 32 floats at `c` may be written.
pub unsafe fn multiply<const A: usize, const B: usize>(
    a: *const u16,
    b: *const u16,
    c: *mut f32,
    stride: usize,
    steps: usize,
    add: bool,
) {
    // SAFETY: as promised by the caller; all addresses lie inside the panels and the 32 rows of
    // `c`.
    unsafe {
        let below = c.byte_add(16 * stride);
        // The sums are written a microsecond from now: have their cache lines here by then.
        for row in 0..SIDE {
            let line = c.byte_add(row * stride);
            asm!(
                "prefetchw [{c}]",
                "prefetchw [{c} + 64]",
                c = in(reg) line,
                options(nostack, preserves_flags, readonly),
            );
        }
        if add {
            asm!(
                "tileloadd tmm0, [{c} + {s}*1]",
                "tileloadd tmm1, [{c} + {s}*1 + 64]",
                "tileloadd tmm2, [{d} + {s}*1]",
                "tileloadd tmm3, [{d} + {s}*1 + 64]",
                c = in(reg) c, d = in(reg) below, s = in(reg) stride,
                options(nostack, preserves_flags, readonly),
            );
        } else {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                options(nostack, preserves_flags, nomem),
            );
        }
        // Small products first; between two of them only one side is loaded anew.
        match (A, B) {
            (1, 1) => pass!(
                a,
                b,
                steps,
                "2048",
                "2048",
                concat!(load_a!("0", "1024"), "\n", load_b!("0", "1024"))
            ),
            (2, 1) => pass!(
                a,
                b,
                steps,
                "4096",
                "2048",
                concat!(load_a!("2048", "3072"), "\n", load_b!("0", "1024")),
                load_a!("0", "1024")
            ),
            (3, 1) => pass!(
                a,
                b,
                steps,
                "6144",
                "2048",
                concat!(load_a!("4096", "5120"), "\n", load_b!("0", "1024")),
                load_a!("2048", "3072"),
                load_a!("0", "1024")
            ),
            (2, 2) => pass!(
                a,
                b,
                steps,
                "4096",
                "4096",
                concat!(load_a!("0", "1024"), "\n", load_b!("2048", "3072")),
                load_b!("0", "1024"),
                load_a!("2048", "3072")
            ),
            _ => pass!(
                a,
                b,
                steps,
                "6144",
                "6144",
                concat!(load_a!("0", "1024"), "\n", load_b!("4096", "5120")),
                load_b!("2048", "3072"),
                load_a!("2048", "3072"),
                load_b!("0", "1024"),
                load_a!("4096", "5120"),
                load_a!("0", "1024")
            ),
        }
        asm!(
            "tilestored [{c} + {s}*1], tmm0",
            "tilestored [{c} + {s}*1 + 64], tmm1",
            "tilestored [{d} + {s}*1], tmm2",
            "tilestored [{d} + {s}*1 + 64], tmm3",
            c = in(reg) c, d = in(reg) below, s = in(reg) stride,
            options(nostack, preserves_flags),
        );
    }
}

/// Sums of tiles of 16 rows of codes, each `$acc` of the tile that `$load` brings, with one of
/// columns.
macro_rules! codes {
    ($a:ident, $stride:ident, $b:ident, $steps:ident, $out:ident, $(($acc:literal, $tile:literal, $pointer:literal, $place:literal)),+) => {{
        let far = 16 * $stride;
        asm!(
            // A tile that is not asked for has no row.
            "/* {a0} {a1} {a2} {a3} */",
            $(concat!("tilezero ", $acc),)+
            "2:",
            "tileloadd tmm4, [{b} + {line}*1]",
            $(
                concat!("tileloadd ", $tile, ", [", $pointer, " + {stride}*1]"),
                concat!("tdpbsud ", $acc, ", ", $tile, ", tmm4"),
                concat!("add ", $pointer, ", 64"),
            )+
            "add {b}, 1024",
            "dec {n}",
            "jnz 2b",
            $(concat!("tilestored [{out} + {line}*1 + ", $place, "], ", $acc),)+
            b = inout(reg) $b => _,
            n = inout(reg) $steps => _,
            a0 = inout(reg) $a => _,
            a1 = inout(reg) $a.wrapping_add(far) => _,
            a2 = inout(reg) $a.wrapping_add(2 * far) => _,
            a3 = inout(reg) $a.wrapping_add(3 * far) => _,
            stride = in(reg) $stride,
            line = in(reg) 64usize,
            out = in(reg) $out,
            options(nostack),
        )
    }};
}

/// `out[t][r] = Σ_k a[t, k]·b[r, k]` for `tiles` (1, 2 or 4) times 16 rows of `a`, signed codes
/// `stride` bytes apart, and 16 of `b`, unsigned ones in a panel: sixteen words of four codes, one
/// of each row, for every four k. Steps are of 64 k.
///
/// SAFETY: the tiles are configured; the rows hold 64 codes a step, and so does the panel (1024
/// bytes); `tiles` times 16 rows of `out` may be written, and `steps` is not 0.
pub unsafe fn sums_of_codes(
    a: *const i8,
    stride: usize,
    b: *const u32,
    steps: usize,
    out: *mut [i32; 16],
    tiles: usize,
) {
    // SAFETY: as promised by the caller; tiles that are not asked for are neither read nor written.
    unsafe {
        match tiles {
            4 => codes!(
                a,
                stride,
                b,
                steps,
                out,
                ("tmm0", "tmm5", "{a0}", "0"),
                ("tmm1", "tmm6", "{a1}", "1024"),
                ("tmm2", "tmm7", "{a2}", "2048"),
                ("tmm3", "tmm5", "{a3}", "3072")
            ),
            2 => codes!(
                a,
                stride,
                b,
                steps,
                out,
                ("tmm0", "tmm5", "{a0}", "0"),
                ("tmm1", "tmm6", "{a1}", "1024")
            ),
            _ => codes!(a, stride, b, steps, out, ("tmm0", "tmm5", "{a0}", "0")),
        }
    }
}
