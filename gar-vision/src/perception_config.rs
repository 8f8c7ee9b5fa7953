//! The Perception Encoder's architecture, as a checkpoint states it.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::{Error, Result, TowerSpec};

/// Architecture of a Perception Encoder tower.
///
/// A checkpoint names an architecture of timm and lists what it overrides (`model_args`); everything else keeps that
/// architecture's value. [`PerceptionConfig::from_json`] resolves the two.
///
/// ```
/// use gar_vision::PerceptionConfig;
/// # fn main() -> gar_vision::Result<()> {
/// let vision = serde_json::json!({
///     "architecture": "vit_pe_core_large_patch14_336",
///     "model_args": { "img_size": 448, "depth": 23, "init_values": 0.1, "use_post_transformer_norm": false },
/// });
/// let config = PerceptionConfig::from_json(&vision)?;
/// assert_eq!((config.spec.grid(), config.depth, config.heads), (32, 23, 16));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct PerceptionConfig {
    /// Tile, patch and feature size.
    pub spec: TowerSpec,
    /// Transformer blocks.
    pub depth: usize,
    /// Attention heads; they divide the width.
    pub heads: usize,
    /// Hidden entries of a block's MLP.
    pub mlp_width: usize,
    /// Whether a learned token precedes the patches.
    pub class_token: bool,
    /// Whether each block scales what it adds by a learned vector (layer scale).
    pub layer_scale: Option<f32>,
    /// Whether queries, keys and values have a bias.
    pub qkv_bias: bool,
    /// Whether features are normalised after the last block.
    pub post_norm: bool,
    /// Whether learned positions are added to the tokens.
    pub absolute_positions: bool,
    /// Rotary positions of the patches, if any.
    pub rotary: Option<RotaryConfig>,
    /// Added to the variance in every normalisation.
    pub norm_eps: f32,
}

/// Rotary positions on a grid of patches (RoPE-2D, axial).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RotaryConfig {
    /// Base of the angular frequencies.
    pub theta: f32,
    /// Added to every coordinate, in patches, before rescaling.
    pub offset: f32,
    /// Rows and columns of the grid that positions are rescaled to.
    pub reference: [usize; 2],
    /// Whether the first half of a head turns with the column (`xy`), else with the row (`ij`).
    pub column_first: bool,
}

/// What an architecture of timm states for itself.
struct Architecture {
    name: &'static str,
    img_size: usize,
    embed_dim: usize,
    depth: usize,
    mlp_ratio: f64,
    class_token: bool,
    ref_feat_shape: usize,
    rope_grid_offset: f64,
}

const ARCHITECTURES: [Architecture; 2] = [
    Architecture {
        name: "vit_pe_core_large_patch14_336",
        img_size: 336,
        embed_dim: 1024,
        depth: 24,
        mlp_ratio: 4.0,
        class_token: true,
        ref_feat_shape: 24,
        rope_grid_offset: 1.0,
    },
    Architecture {
        name: "vit_pe_core_gigantic_patch14_448",
        img_size: 448,
        embed_dim: 1536,
        depth: 50,
        mlp_ratio: 8960.0 / 1536.0,
        class_token: false,
        ref_feat_shape: 32,
        rope_grid_offset: 0.0,
    },
];

/// Arguments that only training, pooling or the classifier read: features do not depend on them.
const WITHOUT_EFFECT: [&str; 15] = [
    "num_classes",
    "attn_pool_num_heads",
    "attn_pool_mlp_ratio",
    "head_init_scale",
    "drop_rate",
    "pos_drop_rate",
    "patch_drop_rate",
    "proj_drop_rate",
    "attn_drop_rate",
    "drop_path_rate",
    "dynamic_img_size",
    "dynamic_img_pad",
    "pretrained",
    "out_indices",
    "fix_init",
];

impl PerceptionConfig {
    /// Reads `vision_config`: `architecture` and, where given, `model_args`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] naming the key and its value: for an architecture or an argument that this tower does not
    /// know, and for a value that asks for another computation.
    pub fn from_json(vision_config: &Value) -> Result<Self> {
        let name = vision_config.get("architecture").and_then(Value::as_str).unwrap_or_default();
        // timm appends the tag of a set of weights after a dot.
        let base = name.strip_suffix(".fb").unwrap_or(name);
        let Some(own) = ARCHITECTURES.iter().find(|a| a.name == base) else {
            let known = ARCHITECTURES.map(|a| a.name).join(" or ");
            return Err(unsupported("architecture", &vision_config["architecture"], &known));
        };
        let empty = Map::new();
        let args = match vision_config.get("model_args") {
            None | Some(Value::Null) => &empty,
            Some(Value::Object(args)) => args,
            Some(other) => return Err(unsupported("model_args", other, "an object")),
        };
        let mut args = Args { given: args, read: BTreeSet::new() };

        args.fixed("in_chans", Value::from(3))?;
        args.fixed("attn_type", Value::from("rope"))?;
        args.fixed("qkv_fused", Value::from(true))?;
        args.fixed("use_pre_transformer_norm", Value::from(true))?;
        args.fixed("num_reg_tokens", Value::from(0))?;
        for key in ["swiglu_mlp", "scale_mlp", "scale_attn_inner", "rope_mixed_mode", "use_post_norm", "use_naflex"] {
            args.fixed(key, Value::from(false))?;
        }

        let tile_size = args.square("img_size")?.unwrap_or(own.img_size);
        let patch_size = args.square("patch_size")?.unwrap_or(14);
        let width = args.size("embed_dim")?.unwrap_or(own.embed_dim);
        let depth = args.size("depth")?.unwrap_or(own.depth);
        let heads = args.size("num_heads")?.unwrap_or(16);
        let mlp_ratio = args.number("mlp_ratio")?.unwrap_or(own.mlp_ratio);
        let class_token = args.flag("class_token")?.unwrap_or(own.class_token);
        let layer_scale = args.number("init_values")?.map(|value| value as f32);
        let qkv_bias = args.flag("qkv_bias")?.unwrap_or(true);
        let absolute_positions = args.flag("use_abs_pos_emb")?.unwrap_or(true);
        if class_token {
            args.fixed("no_embed_class", Value::from(false))?;
        } else {
            args.flag("no_embed_class")?;
        }
        let rotary = RotaryConfig {
            theta: args.number("rope_temperature")?.unwrap_or(10_000.0) as f32,
            offset: args.number("rope_grid_offset")?.unwrap_or(own.rope_grid_offset) as f32,
            reference: args.typed("ref_feat_shape", "n or [rows, columns]", pair)?.unwrap_or([own.ref_feat_shape; 2]),
            column_first: args.choice("rope_grid_indexing", ["ij", "xy"])? != Some("ij"),
        };
        let rotary = args.flag("use_rot_pos_emb")?.unwrap_or(true).then_some(rotary);
        // Unless stated, the last norm stands in for the classifier's own, which average pooling brings with it.
        let average = args.choice("global_pool", ["avg", "", "avgmax", "max", "token", "map"])? == Some("avg");
        let classifier_norm = args.flag("use_fc_norm")?.unwrap_or(average);
        let post_norm = args.flag("use_post_transformer_norm")?.unwrap_or(!classifier_norm);
        args.all_read()?;

        let config = Self {
            spec: TowerSpec { tile_size, patch_size, width },
            depth,
            heads,
            mlp_width: (width as f64 * mlp_ratio) as usize,
            class_token,
            layer_scale,
            qkv_bias,
            post_norm,
            absolute_positions,
            rotary,
            norm_eps: 1e-5,
        };
        config.check()?;
        Ok(config)
    }

    /// Entries of a head.
    pub fn head_dim(&self) -> usize {
        self.spec.width / self.heads
    }

    /// Tokens of a tile: its patches and the class token, if any.
    pub fn tokens(&self) -> usize {
        self.spec.patches() + usize::from(self.class_token)
    }

    /// Checks that the numbers make a tower.
    pub(crate) fn check(&self) -> Result<()> {
        let TowerSpec { tile_size, patch_size, width } = self.spec;
        let refuse = |key: &str, found: usize, expected: String| Err(unsupported(key, &Value::from(found), &expected));
        // Bounds on sizes keep every product of them in range; they are far above any tower.
        const LARGE: usize = 1 << 20;
        if patch_size == 0 || patch_size > tile_size {
            return refuse("patch_size", patch_size, format!("1 to the tile size, {tile_size}"));
        }
        if tile_size > 1 << 14 || !tile_size.is_multiple_of(patch_size) {
            return refuse("img_size", tile_size, format!("a multiple of the patch size {patch_size}, at most 16384"));
        }
        if self.heads == 0 || width == 0 || width > LARGE || !width.is_multiple_of(self.heads) {
            return refuse("embed_dim", width, format!("a multiple of num_heads = {}, at most {LARGE}", self.heads));
        }
        if self.rotary.is_some() && !self.head_dim().is_multiple_of(4) {
            return refuse("embed_dim", width, format!("num_heads = {} times a multiple of 4", self.heads));
        }
        if self.mlp_width == 0 || self.mlp_width > 64 * LARGE {
            return refuse("mlp_ratio", self.mlp_width, "a hidden width of at least 1".into());
        }
        if self.depth > 1 << 12 {
            return refuse("depth", self.depth, "at most 4096".into());
        }
        Ok(())
    }
}

/// `model_args`, and which of them were read.
struct Args<'a> {
    given: &'a Map<String, Value>,
    read: BTreeSet<&'static str>,
}

impl<'a> Args<'a> {
    /// The value of `key`; null counts as absent, as it does in timm.
    fn get(&mut self, key: &'static str) -> Option<&'a Value> {
        self.read.insert(key);
        self.given.get(key).filter(|v| !v.is_null())
    }

    fn typed<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        cast: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        self.get(key).map(|v| cast(v).ok_or_else(|| unsupported(&arg(key), v, expected))).transpose()
    }

    fn flag(&mut self, key: &'static str) -> Result<Option<bool>> {
        self.typed(key, "true or false", Value::as_bool)
    }

    fn size(&mut self, key: &'static str) -> Result<Option<usize>> {
        self.typed(key, "a whole number", |v| v.as_u64().and_then(|n| usize::try_from(n).ok()))
    }

    fn number(&mut self, key: &'static str) -> Result<Option<f64>> {
        self.typed(key, "a number", Value::as_f64)
    }

    /// One of `choices`.
    fn choice<const N: usize>(
        &mut self,
        key: &'static str,
        choices: [&'static str; N],
    ) -> Result<Option<&'static str>> {
        self.typed(key, &format!("one of {choices:?}"), |v| choices.into_iter().find(|c| v.as_str() == Some(c)))
    }

    /// A side, given as n or [n, n].
    fn square(&mut self, key: &'static str) -> Result<Option<usize>> {
        self.typed(key, "n or [n, n]", |v| pair(v).filter(|[h, w]| h == w).map(|[h, _]| h))
    }

    /// An argument of which only one value is supported.
    fn fixed(&mut self, key: &'static str, only: Value) -> Result<()> {
        match self.get(key) {
            Some(found) if *found != only => Err(unsupported(&arg(key), found, &only.to_string())),
            _ => Ok(()),
        }
    }

    /// Refuses arguments that nothing asked for: they may change the computation.
    fn all_read(&self) -> Result<()> {
        let known = |key: &str| self.read.contains(key) || WITHOUT_EFFECT.contains(&key);
        match self.given.iter().find(|(key, _)| !known(key)) {
            Some((key, value)) => Err(unsupported(&arg(key), value, "no such argument")),
            None => Ok(()),
        }
    }
}

/// n as [n, n], or [a, b].
fn pair(value: &Value) -> Option<[usize; 2]> {
    let size = |v: &Value| v.as_u64().and_then(|n| usize::try_from(n).ok());
    match value {
        Value::Array(sides) => match sides.as_slice() {
            [a, b] => Some([size(a)?, size(b)?]),
            _ => None,
        },
        one => size(one).map(|n| [n, n]),
    }
}

fn arg(key: &str) -> String {
    format!("model_args.{key}")
}

fn unsupported(key: &str, found: &Value, expected: &str) -> Error {
    Error::Unsupported { key: format!("vision_config.{key}"), found: found.to_string(), expected: expected.into() }
}
