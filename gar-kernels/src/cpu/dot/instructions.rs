//! Which instruction set computes, decided once for each table of operations.
use std::fmt;

#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
use super::neon;
use super::{
    FloatDot, IntDot,
    float::{Half, Single},
    portable::{self, Arrays},
    tiles,
};
#[cfg(target_arch = "x86_64")]
use super::{amx, avx2, avx512};

/// Instructions that products are computed with.
///
/// Products of 8-bit numbers come out with the same bits from all of them, products of bf16 from all but AMX, which adds them up
/// in another order: its bits are those of [`PortableTiles`](Self::PortableTiles). (AVX512-BF16 and AMX take denormal numbers as zero.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InstructionSet {
    /// Plain loops, which the compiler turns into what the target guarantees.
    Portable,
    /// Plain loops over the panels and tiles of AVX-512: how their layout is tested on a CPU without it. Slow.
    PortableWide,
    /// Plain loops over the panels and tiles of AMX, and sums in its order, likewise. Slow.
    PortableTiles,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F and BW; 8-bit products by VNNI where the CPU has it, else by AVX2.
    Avx512,
    /// AVX-512 with BF16 and VNNI.
    Avx512Bf16,
    /// AMX for products of bf16 and of 8-bit numbers, AVX-512 for all others. On Linux.
    Amx,
    /// NEON, of AArch64; 8-bit products by `sdot` where the CPU has it, else plain loops.
    Neon,
}

/// Work over floating-point products, whatever the instructions.
pub(in crate::cpu) trait FloatWork {
    type Output;
    fn run<D: FloatDot>(self, dot: D) -> Self::Output;
}

/// Work over 8-bit products, whatever the instructions.
pub(in crate::cpu) trait IntWork {
    type Output;
    fn run<D: IntDot>(self, dot: D) -> Self::Output;
}

/// A [`FloatDot`] chosen at run time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::cpu) struct FloatProduct(Float);

/// An [`IntDot`] chosen at run time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::cpu) struct IntProduct(Int);

/// The products of one instruction set.
#[derive(Clone, Copy, Debug)]
pub(in crate::cpu) struct Products {
    /// f32 weights and x.
    pub(in crate::cpu) single: FloatProduct,
    /// bf16 weights, x in f32.
    pub(in crate::cpu) widened: FloatProduct,
    /// bf16 weights, x rounded to bf16.
    pub(in crate::cpu) half: FloatProduct,
    /// 8-bit weights, x quantised by rows.
    pub(in crate::cpu) int8: IntProduct,
}

// The portable tile: four rows and sixteen columns keep their sums in the registers of NEON.
type Portable = Arrays<8, 4>;
type PortableInt8 = portable::Int8<8, 4>;
// The tile of AVX-512.
type Wide = Arrays<16, 12>;
type WideInt8 = portable::Int8<16, 12>;

const PORTABLE: Products = Products {
    single: FloatProduct(Float::PortableSingle(Single(Arrays))),
    widened: FloatProduct(Float::PortableHalf(Half { vectors: Arrays, rounded: false })),
    half: FloatProduct(Float::PortableHalf(Half { vectors: Arrays, rounded: true })),
    int8: IntProduct(Int::Portable(portable::Int8)),
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Float {
    PortableSingle(Single<Portable>),
    PortableHalf(Half<Portable>),
    WideSingle(Single<Wide>),
    WideHalf(Half<Wide>),
    TilesHalf(tiles::Half),
    #[cfg(target_arch = "x86_64")]
    Avx2Single(Single<avx2::Avx2>),
    #[cfg(target_arch = "x86_64")]
    Avx2Half(Half<avx2::Avx2>),
    #[cfg(target_arch = "x86_64")]
    Avx512Single(Single<avx512::Avx512>),
    #[cfg(target_arch = "x86_64")]
    Avx512Half(Half<avx512::Avx512>),
    #[cfg(target_arch = "x86_64")]
    Avx512HalfPairs(avx512::HalfPairs),
    #[cfg(target_arch = "x86_64")]
    AmxHalf(amx::Half),
    #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
    NeonSingle(Single<neon::Neon>),
    #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
    NeonHalf(Half<neon::Neon>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Int {
    Portable(PortableInt8),
    Wide(WideInt8),
    Tiles(tiles::Int8),
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Int8),
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Int8),
    #[cfg(target_arch = "x86_64")]
    Amx(amx::Int8),
    #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
    Neon(neon::Int8),
}

impl FloatProduct {
    pub(in crate::cpu) fn run<W: FloatWork>(self, work: W) -> W::Output {
        match self.0 {
            Float::PortableSingle(dot) => work.run(dot),
            Float::PortableHalf(dot) => work.run(dot),
            Float::WideSingle(dot) => work.run(dot),
            Float::WideHalf(dot) => work.run(dot),
            Float::TilesHalf(dot) => work.run(dot),
            #[cfg(target_arch = "x86_64")]
            Float::Avx2Single(dot) => work.run(dot),
            #[cfg(target_arch = "x86_64")]
            Float::Avx2Half(dot) => work.run(dot),
            #[cfg(target_arch = "x86_64")]
            Float::Avx512Single(dot) => work.run(dot),
            #[cfg(target_arch = "x86_64")]
            Float::Avx512Half(dot) => work.run(dot),
            #[cfg(target_arch = "x86_64")]
            Float::Avx512HalfPairs(dot) => work.run(dot),
            #[cfg(target_arch = "x86_64")]
            Float::AmxHalf(dot) => work.run(dot),
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Float::NeonSingle(dot) => work.run(dot),
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Float::NeonHalf(dot) => work.run(dot),
        }
    }
}

impl IntProduct {
    pub(in crate::cpu) fn run<W: IntWork>(self, work: W) -> W::Output {
        match self.0 {
            Int::Portable(dot) => work.run(dot),
            Int::Wide(dot) => work.run(dot),
            Int::Tiles(dot) => work.run(dot),
            #[cfg(target_arch = "x86_64")]
            Int::Avx2(dot) => work.run(dot),
            #[cfg(target_arch = "x86_64")]
            Int::Avx512(dot) => work.run(dot),
            #[cfg(target_arch = "x86_64")]
            Int::Amx(dot) => work.run(dot),
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Int::Neon(dot) => work.run(dot),
        }
    }
}

impl InstructionSet {
    /// Those that compute fast, the best first.
    const FAST: [Self; 5] = [Self::Amx, Self::Avx512Bf16, Self::Avx512, Self::Avx2, Self::Neon];

    /// The best that this CPU has.
    pub fn best() -> Self {
        Self::best_products().0
    }

    pub(in crate::cpu) fn best_products() -> (Self, Products) {
        let fast = Self::FAST.into_iter().filter(|set| set.pays()).find_map(|set| Some((set, set.products()?)));
        fast.unwrap_or((Self::Portable, PORTABLE))
    }

    /// Every set that this CPU has.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::FAST
            .into_iter()
            .chain([Self::Portable, Self::PortableWide, Self::PortableTiles])
            .filter(|set| set.is_available())
    }

    /// Whether it is faster than those that follow it. Intel's CPUs begin a `vdpbf16ps` every other cycle, which makes half as many
    /// products as two FMA a cycle do of widened numbers; AMD's begin one or two a cycle.
    fn pays(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return self != Self::Avx512Bf16 || avx512::HalfPairs::are_fast();
        #[cfg(not(target_arch = "x86_64"))]
        true
    }

    /// Whether this CPU has it.
    pub fn is_available(self) -> bool {
        self.products().is_some()
    }

    /// Its products; none where this CPU lacks it.
    pub(in crate::cpu) fn products(self) -> Option<Products> {
        match self {
            Self::Portable => Some(PORTABLE),
            Self::PortableWide => Some(Products {
                single: FloatProduct(Float::WideSingle(Single(Arrays))),
                widened: FloatProduct(Float::WideHalf(Half { vectors: Arrays, rounded: false })),
                half: FloatProduct(Float::WideHalf(Half { vectors: Arrays, rounded: true })),
                int8: IntProduct(Int::Wide(portable::Int8)),
            }),
            Self::PortableTiles => Some(Products {
                half: FloatProduct(Float::TilesHalf(tiles::Half)),
                int8: IntProduct(Int::Tiles(tiles::Int8)),
                ..Self::PortableWide.products()?
            }),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => avx2::Avx2::new().map(|vectors| Products {
                single: FloatProduct(Float::Avx2Single(Single(vectors))),
                widened: FloatProduct(Float::Avx2Half(Half { vectors, rounded: false })),
                half: FloatProduct(Float::Avx2Half(Half { vectors, rounded: true })),
                int8: IntProduct(Int::Avx2(avx2::Int8(vectors))),
            }),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                let vectors = avx512::Avx512::new()?;
                let vnni = avx512::Int8::new().map(Int::Avx512);
                Some(Products {
                    single: FloatProduct(Float::Avx512Single(Single(vectors))),
                    widened: FloatProduct(Float::Avx512Half(Half { vectors, rounded: false })),
                    half: FloatProduct(Float::Avx512Half(Half { vectors, rounded: true })),
                    int8: IntProduct(vnni.or_else(|| avx2::Avx2::new().map(|isa| Int::Avx2(avx2::Int8(isa))))?),
                })
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => Some(Products {
                half: FloatProduct(Float::Avx512HalfPairs(avx512::HalfPairs::new()?)),
                int8: IntProduct(Int::Avx512(avx512::Int8::new()?)),
                ..Self::Avx512.products()?
            }),
            #[cfg(target_arch = "x86_64")]
            Self::Amx => Some(Products {
                half: FloatProduct(Float::AmxHalf(amx::Half::new()?)),
                int8: IntProduct(Int::Amx(amx::Int8::new()?)),
                ..Self::Avx512.products()?
            }),
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Self::Neon => Some(Products {
                single: FloatProduct(Float::NeonSingle(Single(neon::Neon))),
                widened: FloatProduct(Float::NeonHalf(Half { vectors: neon::Neon, rounded: false })),
                half: FloatProduct(Float::NeonHalf(Half { vectors: neon::Neon, rounded: true })),
                int8: neon::Int8::new().map_or(PORTABLE.int8, |dot| IntProduct(Int::Neon(dot))),
            }),
            // Of another kind of CPU.
            #[allow(unreachable_patterns, reason = "no target lacks them all")]
            Self::Avx2 | Self::Avx512 | Self::Avx512Bf16 | Self::Amx | Self::Neon => None,
        }
    }
}

impl fmt::Display for InstructionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Portable => "portable",
            Self::PortableWide => "portable-wide",
            Self::PortableTiles => "portable-tiles",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512-bf16",
            Self::Amx => "amx",
            Self::Neon => "neon",
        })
    }
}
