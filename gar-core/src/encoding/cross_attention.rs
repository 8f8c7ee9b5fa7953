//! Crops that look at the whole picture (Grasp Any Region, Table 8, row ②; after *Describe Anything*, DAM).
use std::sync::Arc;

use gar_kernels::{
    Kernels, Tensor, Weights,
    ops::{AttentionSpec, Epilogue, Mask, NormKind, NormSpec},
};

use super::{RegionEncoding, View, crops, split};
use crate::Result;

/// `local + gate ⊙ (o · attention(q · norm(local), k · context_norm(picture), v · context_norm(picture)))`: the features of
/// crops attend to those of the whole picture, thumbnail and tiles, with every region's mask painted into it. The decoder
/// reads the sum and not the picture.
///
/// The gate begins at 0, where this is row ① to the bit. DAM attends within each block of its tower and lets the tanh of
/// one number be the gate; here it is done once, on projected features, with a gate for each channel.
///
/// Weights, below `region_encoding.`, with Q = heads × head size, as the decoder has them, and no grouped heads:
///
/// | name | shape |
/// |---|---|
/// | `norm.weight`, `norm.bias` | `[D]` |
/// | `context_norm.weight`, `context_norm.bias` | `[D]` |
/// | `q_proj.weight`, `k_proj.weight`, `v_proj.weight` | [Q, D] |
/// | `o_proj.weight` | [D, Q] |
/// | `gate` | `[D]` |
#[derive(Clone, Debug)]
pub struct CrossAttention {
    heads: AttentionHeads,
    /// Weight and bias.
    norm: [Tensor; 2],
    context_norm: [Tensor; 2],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    o: Tensor,
    gate: Tensor,
}

/// Extents of a [`CrossAttention`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionHeads {
    /// Width D of the decoder.
    pub width: usize,
    /// Heads.
    pub heads: usize,
    /// Entries of a head.
    pub head_dim: usize,
}

impl CrossAttention {
    /// What names of its weights begin with.
    pub const PREFIX: &str = "region_encoding";
    /// Under the roots of its norms, as in the tower.
    const EPS: f32 = 1e-5;

    /// Reads the weights from a whole checkpoint.
    ///
    /// # Errors
    /// A tensor that is missing, misshapen or not finite.
    pub fn load(k: &Kernels, weights: &Weights, heads: AttentionHeads) -> Result<Self> {
        let weights = weights.scope(Self::PREFIX);
        let (d, inner) = (heads.width, heads.heads * heads.head_dim);
        let vector = |name: &str| Ok::<_, crate::Error>(k.device.upload(&weights.tensor(name, &[d])?)?);
        let norm =
            |name: &str| Ok::<_, crate::Error>([vector(&format!("{name}.weight"))?, vector(&format!("{name}.bias"))?]);
        let matrix = |name: &str, shape: [usize; 2]| {
            let stored = weights.tensor(&format!("{name}.weight"), &shape)?;
            Ok::<_, crate::Error>(k.matmul.prepare(&k.device.upload(&stored)?)?)
        };
        Ok(Self {
            heads,
            norm: norm("norm")?,
            context_norm: norm("context_norm")?,
            q: matrix("q_proj", [inner, d])?,
            k: matrix("k_proj", [inner, d])?,
            v: matrix("v_proj", [inner, d])?,
            o: matrix("o_proj", [d, inner])?,
            gate: vector("gate")?,
        })
    }

    /// `local` [N, n, D] with what it finds in `picture` [T, n, D] added.
    fn attend(&self, k: &Kernels, local: &Tensor, picture: &Tensor) -> Result<Tensor> {
        let AttentionHeads { heads, head_dim, .. } = self.heads;
        let normed = |x: &Tensor, [weight, bias]: &[Tensor; 2]| {
            let spec = NormSpec { kind: NormKind::Layer, weight, bias: Some(bias), eps: Self::EPS, to: None };
            k.norm.norm(x, &spec)
        };
        // One sequence of all regions' queries: they share the keys and do not see one another.
        let projected = |x: &Tensor, w: &Tensor| {
            k.matmul.matmul(x, w, Epilogue::default())?.reshape(&[1, x.as_rows().0, heads, head_dim])
        };
        let context = normed(picture, &self.context_norm)?;
        let q = projected(&normed(local, &self.norm)?, &self.q)?;
        let [keys, values] = [projected(&context, &self.k)?, projected(&context, &self.v)?];
        let spec = AttentionSpec { scale: (head_dim as f32).sqrt().recip(), mask: Mask::Full, to: None };
        let found = k.attention.attention(&q, &keys, &values, &spec)?;
        let [regions, n, _] = local.dims("cross_attention", "local")?;
        let found = found.reshape(&[regions, n, heads * head_dim])?;
        let added = Epilogue { scale: Some(&self.gate), residual: Some(local), ..Epilogue::default() };
        Ok(k.matmul.matmul(&found, &self.o, added)?)
    }
}

impl RegionEncoding for CrossAttention {
    fn tokens(&self, features_per_side: usize) -> usize {
        features_per_side * features_per_side
    }

    fn shows_picture(&self) -> bool {
        false
    }

    fn encode(&self, view: &View<'_>) -> Result<Vec<Tensor>> {
        let local = crops::features(view)?;
        split(&self.attend(view.kernels, &local, &view.eye.picture()?.tokens)?)
    }

    fn with_weights(&self, k: &Kernels, weights: &Weights) -> Result<Option<Arc<dyn RegionEncoding>>> {
        Ok(Some(Arc::new(Self::load(k, weights, self.heads)?)))
    }
}
