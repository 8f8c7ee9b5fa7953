//! From the tower's features to the decoder's width.

use gar_kernels::ops::{Activation, Epilogue, PoolSpec};
use gar_kernels::{Kernels, Tensor, Weights};

use crate::{Error, Result, TowerSpec};

/// The multi-modal projector: Linear → GELU (erf) → Linear → average pooling of r×r patches.
#[derive(Debug, Clone)]
pub struct Projector {
    linear1: [Tensor; 2],
    linear2: [Tensor; 2],
    grid: usize,
    pooling: usize,
    width: usize,
}

impl Projector {
    /// Reads the projector's weights from their scope (`mllm.model.multi_modal_projector` in a GAR checkpoint), to go
    /// from `tower`'s features to `width` entries, pooling `pooling` × `pooling` patches into one.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where `pooling` does not divide the tower's grid, [`Error::Kernels`] for a tensor that is
    /// missing, misshapen or not finite.
    pub fn load(k: &Kernels, tower: TowerSpec, width: usize, pooling: usize, weights: &Weights) -> Result<Self> {
        let grid = tower.grid();
        if pooling == 0 || !grid.is_multiple_of(pooling) {
            return Err(Error::Unsupported {
                key: "projector_pooling_ratio".into(),
                found: pooling.to_string(),
                expected: format!("a divisor of {grid}, the patches along a tile's side"),
            });
        }
        let linear = |name: &str, from: usize| -> Result<[Tensor; 2]> {
            let at = weights.scope(name);
            let upload = |name, shape: &[usize]| Ok::<_, Error>(k.device.upload(&at.tensor(name, shape)?)?);
            Ok([k.matmul.prepare(&upload("weight", &[width, from])?)?, upload("bias", &[width])?])
        };
        Ok(Self {
            linear1: linear("linear_1", tower.width)?,
            linear2: linear("linear_2", width)?,
            grid,
            pooling,
            width,
        })
    }

    /// Features along a side of a tile, S/(p·r).
    pub fn grid(&self) -> usize {
        self.grid / self.pooling
    }

    /// Features of a tile, (S/(p·r))².
    pub fn tokens(&self) -> usize {
        self.grid() * self.grid()
    }

    /// Entries D of a feature.
    pub fn width(&self) -> usize {
        self.width
    }

    /// `x` [T, patches, C] → [T, tokens, D].
    ///
    /// # Errors
    /// [`Error::Kernels`] where shapes do not fit or an operation refuses.
    pub fn project(&self, k: &Kernels, x: &Tensor) -> Result<Tensor> {
        let apply = |x: &Tensor, [weight, bias]: &[Tensor; 2], activation| {
            k.matmul.matmul(x, weight, Epilogue { bias: Some(bias), activation, ..Epilogue::default() })
        };
        let hidden = apply(x, &self.linear1, Activation::Gelu)?;
        let y = apply(&hidden, &self.linear2, Activation::Identity)?;
        if self.pooling == 1 {
            return Ok(y);
        }
        Ok(k.pool.average_pool(&y, &PoolSpec { grid: [self.grid; 2], window: self.pooling })?)
    }
}
