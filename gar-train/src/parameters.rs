//! The weights that are trained, by name, in f32.
use std::{collections::BTreeMap, path::Path};

use gar_core::kernels::{Tensor, Weights};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A part of the model that trains or is frozen as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The vision tower.
    Tower,
    /// The convolution of masks.
    Mask,
    /// The projector.
    Projector,
    /// What shows regions to the decoder, where that has weights.
    Encoding,
    /// The decoder, its embeddings and its head.
    Decoder,
}

impl Part {
    /// The part that a tensor of a checkpoint belongs to.
    pub fn of(name: &str) -> Self {
        if name.starts_with("mask_patch_embedding.") {
            Self::Mask
        } else if name.starts_with("mllm.model.vision_tower.") {
            Self::Tower
        } else if name.starts_with("mllm.model.multi_modal_projector.") {
            Self::Projector
        } else if name.starts_with("region_encoding.") {
            Self::Encoding
        } else {
            Self::Decoder
        }
    }
}

/// Every weight of a checkpoint: trained ones in f32 (master weights), frozen ones as they are stored.
#[derive(Clone, Debug)]
pub struct Parameters {
    trained: BTreeMap<String, Tensor>,
    frozen: BTreeMap<String, Tensor>,
}

impl Parameters {
    /// Takes the weights of a checkpoint; parts in `freeze` stay as they are.
    ///
    /// # Errors
    /// [`Error::AllFrozen`]; a tensor that is not finite.
    pub fn from_weights(weights: &Weights, freeze: &[Part]) -> Result<Self> {
        let (mut trained, mut frozen) = (BTreeMap::new(), BTreeMap::new());
        for info in weights.tensors() {
            let tensor = weights.tensor(&info.name, &info.shape)?;
            if freeze.contains(&Part::of(&info.name)) {
                frozen.insert(info.name, tensor);
            } else {
                trained.insert(info.name, Tensor::from_vec(tensor.to_f32_vec()?, &info.shape)?);
            }
        }
        if trained.is_empty() { Err(Error::AllFrozen) } else { Ok(Self { trained, frozen }) }
    }

    /// All of them as a checkpoint, which shares their storage. `path` is for messages.
    pub fn weights(&self, path: &Path) -> Weights {
        let all = self.trained.iter().chain(&self.frozen).map(|(name, tensor)| (name.clone(), tensor.clone()));
        Weights::from_tensors(all, path)
    }

    /// Adds trained tensors that no checkpoint has.
    pub(crate) fn add(&mut self, tensors: impl IntoIterator<Item = (String, Tensor)>) {
        self.trained.extend(tensors);
    }

    /// A trained one.
    pub(crate) fn get(&self, name: &str) -> Option<&Tensor> {
        self.trained.get(name)
    }

    /// The trained ones, by name.
    pub fn trained(&self) -> impl ExactSizeIterator<Item = (&str, &Tensor)> {
        self.trained.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// All of them, by name.
    pub fn all(&self) -> BTreeMap<&str, &Tensor> {
        self.trained.iter().chain(&self.frozen).map(|(name, tensor)| (name.as_str(), tensor)).collect()
    }

    /// Puts new values in place of the trained ones, in the order of [`trained`](Self::trained).
    ///
    /// # Errors
    /// Vectors of another length than the tensors.
    pub fn replace(&mut self, values: Vec<Vec<f32>>) -> Result<()> {
        for (tensor, values) in self.trained.values_mut().zip(values) {
            *tensor = Tensor::from_vec(values, tensor.shape())?;
        }
        Ok(())
    }
}
