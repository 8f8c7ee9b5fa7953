//! The sizes of the published models, and of a small one for tests.
use clap::ValueEnum;

/// A model that can be written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Preset {
    /// The size of GAR-1B: 3.1 GB
    #[value(name = "gar-1b")]
    Gar1b,
    /// The size of GAR-8B: 20 GB
    #[value(name = "gar-8b")]
    Gar8b,
    /// The same shape as GAR-1B, small enough for tests: 1.4 MB
    Tiny,
}

/// All sizes of a model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Architecture {
    pub(super) vision: Vision,
    pub(super) text: Text,
}

/// The vision tower, a Perception Encoder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vision {
    /// The architecture of timm that it varies.
    pub(super) architecture: &'static str,
    /// C.
    pub(super) width: usize,
    pub(super) depth: usize,
    pub(super) heads: usize,
    pub(super) mlp: usize,
    pub(super) class_token: bool,
}

/// The decoder, a Llama, and its vocabulary.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text {
    /// D.
    pub(super) width: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head: usize,
    pub(super) mlp: usize,
    pub(super) tied: bool,
    pub(super) rope_factor: f64,
    /// Tokens before the special ones.
    pub(super) base_tokens: usize,
}

/// Tile side in pixels.
pub(super) const TILE: usize = 448;
/// Patch side in pixels.
pub(super) const PATCH: usize = 14;
/// Patches pooled into one feature, along a side.
pub(super) const POOLING: usize = 2;
/// Slots P for regions.
pub(super) const SLOTS: usize = 5;
/// Longest sequence.
pub(super) const CONTEXT: usize = 11_520;

impl Preset {
    pub(super) fn architecture(self) -> Architecture {
        let large = "vit_pe_core_large_patch14_336";
        let gigantic = "vit_pe_core_gigantic_patch14_448";
        match self {
            Self::Gar1b => Architecture {
                vision: Vision { architecture: large, width: 1024, depth: 23, heads: 16, mlp: 4096, class_token: true },
                text: Text {
                    width: 2048,
                    layers: 16,
                    heads: 32,
                    kv_heads: 8,
                    head: 64,
                    mlp: 8192,
                    tied: true,
                    rope_factor: 32.0,
                    base_tokens: 128_000,
                },
            },
            Self::Gar8b => Architecture {
                vision: Vision {
                    architecture: gigantic,
                    width: 1536,
                    depth: 47,
                    heads: 16,
                    mlp: 8960,
                    class_token: false,
                },
                text: Text {
                    width: 4096,
                    layers: 32,
                    heads: 32,
                    kv_heads: 8,
                    head: 128,
                    mlp: 14_336,
                    tied: false,
                    rope_factor: 8.0,
                    base_tokens: 128_000,
                },
            },
            Self::Tiny => Architecture {
                vision: Vision { architecture: large, width: 64, depth: 3, heads: 2, mlp: 256, class_token: true },
                text: Text {
                    width: 96,
                    layers: 3,
                    heads: 6,
                    kv_heads: 2,
                    head: 16,
                    mlp: 192,
                    tied: true,
                    rope_factor: 32.0,
                    base_tokens: 1024,
                },
            },
        }
    }
}

impl Vision {
    /// Entries of the position table.
    pub(super) fn positions(&self) -> usize {
        (TILE / PATCH).pow(2) + usize::from(self.class_token)
    }
}
