//! What each operation is: its trait, its spec, its shapes. Implementations live elsewhere ([`crate::cpu`]).
//!
//! Shapes are written `[rows, columns]`, row-major, channels last. A weight may be stored in another floating-point type
//! than the activations; every implementation says which types it takes.
mod argmax;
mod attention;
mod cached_attention;
mod matmul;
mod norm;
mod patch_embed;
mod pointwise;
mod pool;
mod roi_align;
mod rotary;
mod rows;
mod sampling;

pub use argmax::ArgMax;
pub use attention::{Attention, AttentionDims, AttentionSpec, Mask};
pub use cached_attention::{CacheSpec, CachedAttention, CachedAttentionDims, CachedAttentionSpec, Filled, KvCache};
pub use matmul::{Activation, Epilogue, Gated, MatMul, MatMulDims, Projection};
pub use norm::{Norm, NormKind, NormSpec, Normalization};
pub use patch_embed::{PatchDims, PatchEmbed, PatchSpec};
pub use pointwise::Pointwise;
pub use pool::{Pool, PoolDims, PoolSpec};
pub use roi_align::{RoiAlign, RoiAlignDims, RoiAlignSpec, RoiBox, RoiSide};
pub use rotary::{Pairing, Rotary, RotaryDims, RotarySpec, Rotation};
pub use rows::Rows;
pub(crate) use rows::check_gather;
pub use sampling::{Draw, Sample};
