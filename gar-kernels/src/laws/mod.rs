//! What every implementation of an operation must satisfy, as property suites that anyone can run on a kernel of their own.
//!
//! A suite takes one implementation and the [`Device`](crate::Device) whose tensors it works on, draws inputs, and judges
//! the results against plain f64 loops ([`mod@reference`]) and against the operation's own algebra: rows of attention are convex
//! combinations of the values, RoI-Align of a linear map is linear, a forked cache leaves its parent alone. Extents
//! are drawn around tile sizes (0, 1, tile − 1, tile, tile + 1), so that tails are met. Wrong shapes must be refused with
//! an error, not with a panic.
//!
//! A failing input is shrunk before it is reported: the [`Violation`] names operation, law, input, what was expected
//! and what was found. The same [`LawConfig`] draws the same inputs.
//!
//! ```
//! use gar_kernels::{Kernels, laws, laws::LawConfig};
//! let kernels = Kernels::cpu();
//! laws::argmax(&*kernels.argmax, &*kernels.device, &LawConfig { cases: 8, ..LawConfig::default() })?;
//! # Ok::<(), laws::Violation>(())
//! ```
//!
//! `ops/attention.rs` says what attention is, `laws/attention.rs` judges it; so with every operation.
mod argmax;
mod attention;
mod cached_attention;
mod draw;
mod judge;
mod matmul;
mod norm;
mod normalized;
mod patch_embed;
mod pointwise;
mod pool;
pub mod reference;
mod roi_align;
mod rotary;
mod rows;
mod sampling;

pub use argmax::argmax;
pub use attention::attention;
pub use cached_attention::cached_attention;
pub use judge::{LawConfig, Violation};
pub use matmul::matmul;
pub use norm::norm;
pub use normalized::normalized;
pub use patch_embed::patch_embed;
pub use pointwise::pointwise;
pub use pool::pool;
pub use roi_align::roi_align;
pub use rotary::{attention_rotated, cached_attention_rotated, rotary};
pub use rows::rows;
pub use sampling::sample;

use crate::Kernels;

/// Judges every operation of a table.
///
/// # Errors
/// The first violation of each operation that has one.
pub fn all(kernels: &Kernels, config: &LawConfig) -> Result<(), Vec<Violation>> {
    let device = &*kernels.device;
    let verdicts = [
        matmul(&*kernels.matmul, device, config),
        norm(&*kernels.norm, device, config),
        normalized(&*kernels.matmul, &*kernels.norm, &*kernels.pointwise, device, config),
        rotary(&*kernels.rotary, device, config),
        attention(&*kernels.attention, device, config),
        attention_rotated(&*kernels.attention, &*kernels.rotary, device, config),
        cached_attention(&*kernels.cached_attention, device, config),
        cached_attention_rotated(&*kernels.cached_attention, &*kernels.rotary, device, config),
        roi_align(&*kernels.roi_align, device, config),
        pool(&*kernels.pool, device, config),
        pointwise(&*kernels.pointwise, device, config),
        rows(&*kernels.rows, device, config),
        patch_embed(&*kernels.patch_embed, device, config),
        argmax(&*kernels.argmax, device, config),
        sample(&*kernels.sample, device, config),
    ];
    let violations: Vec<_> = verdicts.into_iter().filter_map(Result::err).collect();
    if violations.is_empty() { Ok(()) } else { Err(violations) }
}
