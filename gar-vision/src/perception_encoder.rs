//! The Perception Encoder (Bolya et al., 2025): a vision transformer with learned and rotary positions.

use gar_kernels::ops::{
    Activation, AttentionSpec, Epilogue, Mask, NormKind, NormSpec, Pairing, PatchSpec, Projection, RotarySpec, Rotation,
};
use gar_kernels::{DType, Kernels, Tensor, Weights};

use crate::{PerceptionConfig, Result, RotaryConfig, Tiles, TowerSpec, VisionTower};

/// Tiles that go through the blocks together, at least. Memory grows with it, results do not depend on it.
const TILES_AT_ONCE: usize = 2;

/// A Perception Encoder tower with its weights.
///
/// `tiles` → patch embedding (+ prompt, class token, learned positions) → norm → blocks (→ norm) → patches. A block is
/// x += γ₁ · attention(norm₁ x), then x += γ₂ · mlp(norm₂ x); attention rotates queries and keys of patches by their
/// place in the tile.
#[derive(Debug)]
pub struct PerceptionEncoder {
    config: PerceptionConfig,
    patch_weight: Tensor,
    class_token: Option<Tensor>,
    positions: Option<Tensor>,
    pre_norm: LayerNorm,
    blocks: Vec<Block>,
    post_norm: Option<LayerNorm>,
    rotary: Option<[Tensor; 2]>,
    tiles_at_once: usize,
}

#[derive(Debug)]
struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f32,
}

/// A projection, prepared for the matrix product.
#[derive(Debug)]
struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

#[derive(Debug)]
struct Block {
    norm1: LayerNorm,
    /// Queries, keys and values: three thirds of one stored matrix.
    qkv: [Linear; 3],
    attention_out: Linear,
    gamma1: Option<Tensor>,
    norm2: LayerNorm,
    mlp_in: Linear,
    mlp_out: Linear,
    gamma2: Option<Tensor>,
}

/// Reads the tensors of one scope onto a device.
struct Loader<'a> {
    weights: Weights,
    kernels: &'a Kernels,
    eps: f32,
}

impl Loader<'_> {
    fn scope(&self, prefix: &str) -> Self {
        Loader { weights: self.weights.scope(prefix), ..*self }
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        Ok(self.kernels.device.upload(&self.weights.tensor(name, shape)?)?)
    }

    fn prepare(&self, weight: &Tensor) -> Result<Tensor> {
        Ok(self.kernels.matmul.prepare(weight)?)
    }

    fn norm(&self, name: &str, width: usize) -> Result<LayerNorm> {
        let at = self.scope(name);
        Ok(LayerNorm { weight: at.tensor("weight", &[width])?, bias: at.tensor("bias", &[width])?, eps: self.eps })
    }

    fn linear(&self, name: &str, from: usize, to: usize, bias: bool) -> Result<Linear> {
        let at = self.scope(name);
        let bias = bias.then(|| at.tensor("bias", &[to])).transpose()?;
        Ok(Linear { weight: self.prepare(&at.tensor("weight", &[to, from])?)?, bias })
    }

    fn block(&self, config: &PerceptionConfig) -> Result<Block> {
        let width = config.spec.width;
        let qkv = self.scope("attn.qkv");
        let all = qkv.tensor("weight", &[3 * width, width])?;
        let biases = config.qkv_bias.then(|| qkv.tensor("bias", &[3 * width])).transpose()?;
        let third = |i: usize| -> Result<Linear> {
            let rows = i * width..(i + 1) * width;
            let bias = biases.as_ref().map(|b| b.rows(rows.clone())).transpose()?;
            Ok(Linear { weight: self.prepare(&all.rows(rows)?)?, bias })
        };
        let gamma = |name: &str| config.layer_scale.map(|_| self.tensor(name, &[width])).transpose();
        Ok(Block {
            norm1: self.norm("norm1", width)?,
            qkv: [third(0)?, third(1)?, third(2)?],
            attention_out: self.linear("attn.proj", width, width, true)?,
            gamma1: gamma("gamma_1")?,
            norm2: self.norm("norm2", width)?,
            mlp_in: self.linear("mlp.fc1", width, config.mlp_width, true)?,
            mlp_out: self.linear("mlp.fc2", config.mlp_width, width, true)?,
            gamma2: gamma("gamma_2")?,
        })
    }
}

impl PerceptionEncoder {
    /// Reads the tower's weights from their scope (`mllm.model.vision_tower.timm_model` in a GAR checkpoint).
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported) where `config` makes no tower,
    /// [`Error::Kernels`](crate::Error::Kernels) for a tensor that is missing, misshapen or not finite.
    pub fn load(k: &Kernels, config: PerceptionConfig, weights: &Weights) -> Result<Self> {
        config.check()?;
        let TowerSpec { patch_size, width, .. } = config.spec;
        let tokens = config.tokens();
        let at = Loader { weights: weights.clone(), kernels: k, eps: config.norm_eps };
        let flat = |name: &str, shape: [usize; 3], to: &[usize]| -> Result<Tensor> {
            Ok(at.tensor(name, &shape)?.reshape(to)?)
        };
        let patch_weight = at.prepare(&at.tensor("patch_embed.proj.weight", &[width, 3, patch_size, patch_size])?)?;
        let class_token = config.class_token.then(|| flat("cls_token", [1, 1, width], &[width])).transpose()?;
        let positions =
            config.absolute_positions.then(|| flat("pos_embed", [1, tokens, width], &[tokens, width])).transpose()?;
        let blocks =
            (0..config.depth).map(|i| at.scope(&format!("blocks.{i}")).block(&config)).collect::<Result<_>>()?;
        let rotary = match &config.rotary {
            Some(rotary) => {
                let [cos, sin] = rotary_tables(rotary, config.spec.grid(), config.head_dim(), config.class_token)?;
                Some([k.device.upload(&cos)?, k.device.upload(&sin)?])
            }
            None => None,
        };
        Ok(Self {
            patch_weight,
            class_token,
            positions,
            pre_norm: at.norm("norm_pre", width)?,
            blocks,
            post_norm: config.post_norm.then(|| at.norm("norm", width)).transpose()?,
            rotary,
            config,
            tiles_at_once: TILES_AT_ONCE.max(k.device.rows_at_once() / tokens.max(1)),
        })
    }

    /// The architecture.
    pub fn config(&self) -> &PerceptionConfig {
        &self.config
    }

    /// The same tower, taking `tiles` tiles through its blocks together, at least one. More fill a large device better
    /// and need more memory; features stay the same.
    #[must_use]
    pub fn with_tiles_at_once(self, tiles: usize) -> Self {
        Self { tiles_at_once: tiles.max(1), ..self }
    }

    /// Patches of some tiles: [n, 3, S, S] → [n · patches, C].
    fn encode_group(&self, k: &Kernels, tiles: &Tiles, prompt: Option<&Tensor>) -> Result<Tensor> {
        let spec = PatchSpec {
            weight: &self.patch_weight,
            prompt,
            class_token: self.class_token.as_ref(),
            positions: self.positions.as_ref(),
            levels: tiles.levels.as_ref(),
        };
        let mut x = k.patch_embed.patch_embed(&tiles.pixels, &spec)?;
        x = self.pre_norm.forward(k, &x)?;
        for block in &self.blocks {
            x = self.block(k, block, x)?;
        }
        if let Some(norm) = &self.post_norm {
            x = norm.forward(k, &x)?;
        }
        let [count, tokens, width] = x.dims("vision tower", "tokens")?;
        let x = x.reshape(&[count * tokens, width])?;
        if !self.config.class_token {
            return Ok(x);
        }
        let patches: Vec<u32> =
            (0..(count * tokens) as u32).filter(|i| !(*i as usize).is_multiple_of(tokens)).collect();
        Ok(k.rows.gather(&x, &patches)?)
    }

    fn block(&self, k: &Kernels, block: &Block, x: Tensor) -> Result<Tensor> {
        let normed = block.norm1.before(k, &x, &block.qkv[0])?;
        let attended = self.attention(k, block, &normed)?;
        let x = block.attention_out.add_to(k, &attended, block.gamma1.as_ref(), &x)?;
        let normed = block.norm2.before(k, &x, &block.mlp_in)?;
        let hidden = block.mlp_in.before(k, &normed, Activation::Gelu, &block.mlp_out)?;
        block.mlp_out.add_to(k, &hidden, block.gamma2.as_ref(), &x)
    }

    fn attention(&self, k: &Kernels, block: &Block, x: &Tensor) -> Result<Tensor> {
        let [count, tokens, width] = x.dims("vision tower", "tokens")?;
        let (heads, head_dim) = (self.config.heads, self.config.head_dim());
        let mut projections = block.qkv.each_ref().map(|linear| linear.projection(Activation::Identity));
        // Only attention reads values, and only the next product what attention gives.
        let [.., of_values] = &mut projections;
        of_values.epilogue.to = k.attention.rounding();
        let to = k.matmul.rounding(&block.attention_out.weight);
        let split = |t: Tensor| t.reshape(&[count, tokens, heads, head_dim]);
        let [query, key, value] = k.matmul.matmuls_of(x, projections)?;
        let (query, key, value) = (split(query)?, split(key)?, split(value)?);
        let spec = AttentionSpec { scale: (head_dim as f32).sqrt().recip(), mask: Mask::Full, to };
        let attended = match &self.rotary {
            None => k.attention.attention(&query, &key, &value, &spec)?,
            Some([cos, sin]) => {
                let turn = RotarySpec { cos, sin, start: &vec![0; count], pairing: Pairing::Interleaved };
                let rotation = Rotation { rotary: &*k.rotary, spec: turn };
                k.attention.attention_rotated(&query, &key, &value, rotation, &spec)?
            }
        };
        Ok(attended.reshape(&[count, tokens, width])?)
    }
}

impl VisionTower for PerceptionEncoder {
    fn spec(&self) -> TowerSpec {
        self.config.spec
    }

    fn encode(&self, k: &Kernels, tiles: &Tiles, prompt: Option<&Tensor>) -> Result<Tensor> {
        let TowerSpec { tile_size, width, .. } = self.config.spec;
        let patches = self.config.spec.patches();
        let count = tiles.count();
        tiles.pixels.expect_shape("vision tower", "tiles", &[count, 3, tile_size, tile_size])?;
        if let Some(prompt) = prompt {
            prompt.expect_shape("vision tower", "prompt", &[count, patches, width])?;
        }
        let shape = [count, patches, width];
        let mut features: Option<Tensor> = None;
        for first in (0..count).step_by(self.tiles_at_once) {
            let group = first..(first + self.tiles_at_once).min(count);
            let prompt = prompt.map(|p| p.rows(group.clone())).transpose()?;
            let encoded = self.encode_group(k, &tiles.range(group.clone())?, prompt.as_ref())?;
            if group.len() == count {
                return Ok(encoded.reshape(&shape)?);
            }
            let all = match features {
                Some(all) => all,
                None => k.device.zeros(&[count * patches, width], encoded.dtype())?,
            };
            let index: Vec<u32> = ((group.start * patches) as u32..(group.end * patches) as u32).collect();
            features = Some(k.rows.scatter(&all, &index, &encoded)?);
        }
        match features {
            Some(all) => Ok(all.reshape(&shape)?),
            None => Ok(self.encode_group(k, tiles, prompt)?.reshape(&shape)?),
        }
    }
}

impl LayerNorm {
    fn forward(&self, k: &Kernels, x: &Tensor) -> Result<Tensor> {
        Ok(k.norm.norm(x, &self.spec(None))?)
    }

    /// What only `next`, and layers like it, multiply.
    fn before(&self, k: &Kernels, x: &Tensor, next: &Linear) -> Result<Tensor> {
        Ok(k.norm.norm(x, &self.spec(k.matmul.rounding(&next.weight)))?)
    }

    fn spec(&self, to: Option<DType>) -> NormSpec<'_> {
        NormSpec { kind: NormKind::Layer, weight: &self.weight, bias: Some(&self.bias), eps: self.eps, to }
    }
}

impl Linear {
    fn projection(&self, activation: Activation) -> Projection<'_> {
        let epilogue = Epilogue { bias: self.bias.as_ref(), activation, ..Epilogue::default() };
        Projection { w: &self.weight, epilogue }
    }

    /// What only `next` multiplies.
    fn before(&self, k: &Kernels, x: &Tensor, activation: Activation, next: &Self) -> Result<Tensor> {
        let Projection { w, epilogue } = self.projection(activation);
        Ok(k.matmul.matmul(x, w, Epilogue { to: k.matmul.rounding(&next.weight), ..epilogue })?)
    }

    /// `residual + scale ⊙ (x · wᵀ + bias)`.
    fn add_to(&self, k: &Kernels, x: &Tensor, scale: Option<&Tensor>, residual: &Tensor) -> Result<Tensor> {
        let epilogue = Epilogue { bias: self.bias.as_ref(), scale, residual: Some(residual), ..Epilogue::default() };
        Ok(k.matmul.matmul(x, &self.weight, epilogue)?)
    }
}

/// Cosines and sines, each [tokens, head_dim/2], of a `grid` × `grid` tile; the class token's row leaves it as it is.
///
/// Each axis has head_dim/4 frequencies θ^(−i/(head_dim/4)). One half of the pairs of a head turns by the frequencies
/// times the column, the other by the frequencies times the row; coordinates start at the offset and are rescaled to
/// the grid that the tower was trained on.
fn rotary_tables(config: &RotaryConfig, grid: usize, head_dim: usize, class_token: bool) -> Result<[Tensor; 2]> {
    let bands = head_dim / 4;
    let frequency: Vec<f32> = (0..bands).map(|i| 1.0 / config.theta.powf(i as f32 / bands as f32)).collect();
    let place =
        |at: usize, axis: usize| -> f32 { (at as f32 + config.offset) / grid as f32 * config.reference[axis] as f32 };
    let rows = grid * grid + usize::from(class_token);
    let mut angles = Vec::with_capacity(rows * 2 * bands);
    if class_token {
        angles.resize(2 * bands, 0.0);
    }
    for (y, x) in (0..grid).flat_map(|y| (0..grid).map(move |x| (y, x))) {
        let (row, column) = (place(y, 0), place(x, 1));
        let order = if config.column_first { [column, row] } else { [row, column] };
        angles.extend(order.into_iter().flat_map(|at| frequency.iter().map(move |f| at * f)));
    }
    let table = |f: fn(f64) -> f64| {
        let values: Vec<f32> = angles.iter().map(|&a: &f32| f(f64::from(a)) as f32).collect();
        Tensor::from_vec(values, &[rows, 2 * bands])
    };
    Ok([table(f64::cos)?, table(f64::sin)?])
}
