//! What dense products multiply: float32 numbers, or bfloat16 ones (operands rounded to nearest, sums in float32).
//!
//! Two instructions take bfloat16 pairs: `vdpbf16ps` of AVX-512 and the tile product `tdpbf16ps` of AMX. They add in different
//! orders, so which of them is used is part of a measurement's fingerprint. Both read the same packed weights: pairs of
//! neighbouring inputs beside each other, inputs padded with zeros to a multiple of [`STEP`].

use super::simd::{Isa, Kernel};
use std::fmt;

/// Inputs that one AMX tile product reduces.
pub(super) const STEP: usize = 32;

/// Operands of dense products, and the instructions that multiply them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Products {
    /// float32, by the instruction path's multiply-adds.
    F32,
    /// bfloat16 pairs, by AVX-512's `vdpbf16ps`.
    Bf16Dot,
    /// bfloat16 tiles, by AMX.
    Bf16Amx,
}

impl fmt::Display for Products {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Products::F32 => "f32",
            Products::Bf16Dot => "bf16",
            Products::Bf16Amx => "bf16-amx",
        })
    }
}

impl Products {
    /// All that this machine has on an instruction path; float32 first, then from slow to fast.
    pub fn available(isa: Isa) -> Vec<Products> {
        #[allow(unused_mut)]
        let mut v = vec![Products::F32];
        #[cfg(target_arch = "x86_64")]
        if isa == Isa::Avx512 && is_x86_feature_detected!("avx512bf16") {
            v.push(Products::Bf16Dot);
            if amx::permitted() {
                v.push(Products::Bf16Amx);
            }
        }
        v
    }

    /// Rows of x that one register tile takes.
    pub(super) const fn row_tile(self, lanes: usize) -> usize {
        match (self, lanes) {
            (Products::Bf16Amx, _) => 32,
            (_, 16) => 14,
            _ => 6,
        }
    }

    /// Four-byte words that hold one row's or one output's inputs: numbers, or pairs.
    pub(super) const fn words(self, inputs: usize) -> usize {
        match self {
            Products::F32 => inputs,
            Products::Bf16Dot | Products::Bf16Amx => inputs.div_ceil(STEP) * STEP / 2,
        }
    }

    /// Runs a kernel with these instructions at hand.
    #[inline]
    pub(super) fn run<K: Kernel>(self, isa: Isa, kernel: K) -> K::Out {
        match self {
            #[cfg(target_arch = "x86_64")]
            Products::Bf16Amx => amx::run(isa, kernel),
            _ => isa.run(kernel),
        }
    }
}

/// Rounds a row to bfloat16 pairs, ties to even: `words[k]` holds inputs 2k and 2k + 1; words past the row are zero. Subnormal numbers become zero, as the
/// products take them.
///
/// # Safety
/// One of the bfloat16 products is available.
pub(super) unsafe fn pairs(row: &[f32], words: &mut [u32]) {
    debug_assert!(words.len() >= row.len().div_ceil(2));
    #[cfg(target_arch = "x86_64")]
    // SAFETY: AVX512_BF16 is there by the caller's word.
    unsafe {
        dot::pairs(row, words)
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (row, words);
}

/// `acc = a b`, `[14][32]`, over `words` pairs of inputs: rows' pairs `a[word][14]`, outputs' pairs `b[word][2 × 16]`, by `vdpbf16ps`; ascending pairs, and of a
/// pair the second product first, as the instruction has it.
///
/// # Safety
/// [`Products::Bf16Dot`] is available; the addresses are readable, `acc` is writable.
#[inline(always)]
pub(super) unsafe fn dot_tile(words: usize, a: *const f32, b: *const f32, acc: *mut f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: by the caller's word.
    unsafe {
        dot::tile(words, a, b, acc)
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (words, a, b, acc);
}

/// `acc = a b`, `[32][32]`, over `words` pairs of inputs, by AMX tiles: rows `a[step][32 rows][16 pairs]`, outputs `b[pair][2 × 16]`.
///
/// # Safety
/// Inside [`Products::run`] of [`Products::Bf16Amx`] only; the addresses are readable, `acc` is writable.
#[inline(always)]
pub(super) unsafe fn amx_tile(words: usize, a: *const f32, b: *const f32, acc: *mut f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: by the caller's word.
    unsafe {
        amx::tile(2 * words / STEP, a, b, acc)
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (words, a, b, acc);
}

#[cfg(target_arch = "x86_64")]
mod dot {
    use std::arch::asm;
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub unsafe fn pairs(row: &[f32], words: &mut [u32]) {
        let mut at = 0;
        for out in words.chunks_mut(16) {
            // SAFETY: the masks leave out what lies past the row and past the words.
            unsafe {
                let mask = |from: usize| ((1u32 << row.len().saturating_sub(from).min(16)) - 1) as u16;
                let p = row.as_ptr();
                let low = _mm512_maskz_loadu_ps(mask(at), p.wrapping_add(at));
                let high = _mm512_maskz_loadu_ps(mask(at + 16), p.wrapping_add(at + 16));
                let rounded: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
                _mm512_mask_storeu_epi32(out.as_mut_ptr().cast(), ((1u32 << out.len()) - 1) as u16, rounded);
            }
            at += 32;
        }
    }

    macro_rules! row {
        ($row:literal, $left:literal, $right:literal) => {
            concat!(
                "vpbroadcastd zmm30, dword ptr [{a} + 4*",
                $row,
                "]\n",
                "vdpbf16ps zmm",
                $left,
                ", zmm30, zmm28\n",
                "vdpbf16ps zmm",
                $right,
                ", zmm30, zmm29"
            )
        };
    }

    macro_rules! store {
        ($row:literal, $left:literal, $right:literal) => {
            concat!("vmovups [{c} + 128*", $row, "], zmm", $left, "\n", "vmovups [{c} + 128*", $row, " + 64], zmm", $right)
        };
    }

    macro_rules! zero {
        ($($n:literal)*) => { concat!($("vpxord zmm", $n, ", zmm", $n, ", zmm", $n, "\n"),*) };
    }

    /// `c[14][32] = Σ over words`. All 28 sums stay in registers, which a compiler does not promise.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub unsafe fn tile(words: usize, a: *const f32, b: *const f32, c: *mut f32) {
        unsafe {
            asm!(
                zero!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27),
                "test {n}, {n}",
                "jz 3f",
                "2:",
                "vmovups zmm28, [{b}]",
                "vmovups zmm29, [{b} + 64]",
                row!(0, 0, 1),
                row!(1, 2, 3),
                row!(2, 4, 5),
                row!(3, 6, 7),
                row!(4, 8, 9),
                row!(5, 10, 11),
                row!(6, 12, 13),
                row!(7, 14, 15),
                row!(8, 16, 17),
                row!(9, 18, 19),
                row!(10, 20, 21),
                row!(11, 22, 23),
                row!(12, 24, 25),
                row!(13, 26, 27),
                "add {a}, 56",
                "add {b}, 128",
                "dec {n}",
                "jnz 2b",
                "3:",
                store!(0, 0, 1),
                store!(1, 2, 3),
                store!(2, 4, 5),
                store!(3, 6, 7),
                store!(4, 8, 9),
                store!(5, 10, 11),
                store!(6, 12, 13),
                store!(7, 14, 15),
                store!(8, 16, 17),
                store!(9, 18, 19),
                store!(10, 20, 21),
                store!(11, 22, 23),
                store!(12, 24, 25),
                store!(13, 26, 27),
                a = inout(reg) a => _,
                b = inout(reg) b => _,
                c = in(reg) c,
                n = inout(reg) words => _,
                out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _, out("zmm6") _, out("zmm7") _,
                out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _, out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _,
                out("zmm16") _, out("zmm17") _, out("zmm18") _, out("zmm19") _, out("zmm20") _, out("zmm21") _, out("zmm22") _, out("zmm23") _,
                out("zmm24") _, out("zmm25") _, out("zmm26") _, out("zmm27") _, out("zmm28") _, out("zmm29") _, out("zmm30") _,
                options(nostack),
            );
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod amx {
    use super::super::simd::{Isa, Kernel};
    use std::arch::asm;
    use std::sync::OnceLock;

    /// Palette 1: eight tiles of 16 rows of 64 bytes.
    #[repr(C, align(64))]
    struct Config {
        palette: u8,
        start_row: u8,
        reserved: [u8; 14],
        row_bytes: [u16; 16],
        rows: [u8; 16],
    }

    static CONFIG: Config = Config {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
        rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
    };

    /// Whether the processor has bfloat16 tiles and the system lets this process use them, which it must be asked for (Linux: arch_prctl).
    pub fn permitted() -> bool {
        static ANSWER: OnceLock<bool> = OnceLock::new();
        *ANSWER.get_or_init(|| {
            // Leaf 7: EDX bits 22 (bfloat16 tiles) and 24 (tiles).
            let leaf = std::arch::x86_64::__cpuid_count(7, 0);
            leaf.edx >> 22 & 1 == 1 && leaf.edx >> 24 & 1 == 1 && ask()
        })
    }

    #[cfg(target_os = "linux")]
    fn ask() -> bool {
        const ARCH_PRCTL: i64 = 158;
        const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
        const TILE_DATA: u64 = 18;
        let answer: i64;
        // SAFETY: a system call that changes nothing but this process's permission; rcx and r11 are clobbered by every call.
        unsafe {
            asm!("syscall", inlateout("rax") ARCH_PRCTL => answer, in("rdi") ARCH_REQ_XCOMP_PERM, in("rsi") TILE_DATA,
                lateout("rcx") _, lateout("r11") _, options(nostack));
        }
        answer == 0
    }

    #[cfg(not(target_os = "linux"))]
    fn ask() -> bool {
        false
    }

    /// Runs a kernel with the tiles configured on this thread.
    pub fn run<K: Kernel>(isa: Isa, kernel: K) -> K::Out {
        // SAFETY: `permitted` was true where this path was chosen; the tiles are this thread's own and nobody else uses them.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &CONFIG, options(nostack, readonly)) };
        let out = isa.run(kernel);
        // SAFETY: as above. Released tiles need not be saved when threads are switched.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
        out
    }

    macro_rules! prefetch {
        ($($line:literal)*) => { concat!($("prefetcht0 [{b} + 4096 + 64*", $line, "]\n"),*) };
    }

    /// `c[32][32] = Σ over steps`: two tiles of rows by two of outputs, so that four loads feed four products. Outputs two steps ahead are fetched
    /// meanwhile; tile loads do not set the processor's own prefetching off soon enough (a fifth faster from the second-level cache).
    #[inline(always)]
    pub unsafe fn tile(steps: usize, a: *const f32, b: *const f32, c: *mut f32) {
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "test {n}, {n}",
                "jz 3f",
                "2:",
                "tileloadd tmm4, [{a} + {s64}]",
                "tileloadd tmm6, [{b} + {s128}]",
                "tileloadd tmm7, [{b} + {s128} + 64]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm5, [{a} + {s64} + 1024]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                prefetch!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31),
                "add {a}, 2048",
                "add {b}, 2048",
                "dec {n}",
                "jnz 2b",
                "3:",
                "tilestored [{c} + {s128}], tmm0",
                "tilestored [{c} + {s128} + 64], tmm1",
                "add {c}, 2048",
                "tilestored [{c} + {s128}], tmm2",
                "tilestored [{c} + {s128} + 64], tmm3",
                a = inout(reg) a => _,
                b = inout(reg) b => _,
                c = inout(reg) c => _,
                n = inout(reg) steps => _,
                s64 = in(reg) 64usize,
                s128 = in(reg) 128usize,
                options(nostack),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_nearest_even() {
        if Products::available(Isa::detect()).len() < 2 {
            return;
        }
        let mut row: Vec<f32> = vec![0.0, -0.0, 1.0, 1.003_906_2, 1.011_718_8, -2.625, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, 65_519.0];
        row.extend((0..57).map(|i| (i as f32 - 20.0) * 0.37));
        for n in [0, 1, 2, 31, 32, 33, row.len()] {
            let mut words = vec![9; 48];
            // SAFETY: asked above.
            unsafe { pairs(&row[..n], &mut words) };
            for (i, half) in words.iter().flat_map(|w| [*w as u16, (*w >> 16) as u16]).enumerate() {
                let want = row[..n].get(i).map_or(0, |&x| half::bf16::from_f32(x).to_bits());
                assert_eq!(half, want, "number {i} of {n}");
            }
        }
        let mut word = [0];
        // SAFETY: asked above.
        unsafe { pairs(&[f32::NAN], &mut word) };
        assert!(half::bf16::from_bits(word[0] as u16).is_nan());
    }
}
