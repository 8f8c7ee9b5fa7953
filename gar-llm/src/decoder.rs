//! What any language model behind GAR offers: embed, prefill, step.

use std::any::Any;

use gar_kernels::{Kernels, Tensor};

use crate::{Error, Result};

/// What sees the hidden states [B, L, D] behind a layer, given its number from 1.
pub type AfterLayer<'a> = dyn FnMut(usize, &Tensor) + 'a;

/// A decoder-only language model. [`Llama`](crate::Llama) is one.
///
/// It is fed embeddings, not only tokens, so that features of a picture can stand among the words. D is the width, V the
/// vocabulary.
pub trait Decoder: Send + Sync {
    /// D, the width of an embedding.
    fn width(&self) -> usize;

    /// V, how many logits there are.
    fn vocabulary(&self) -> usize;

    /// The most positions that a sequence may have.
    fn context(&self) -> usize;

    /// The embeddings of tokens → [L, D].
    ///
    /// # Errors
    /// [`Error::UnknownId`](crate::Error::UnknownId) for an id outside the vocabulary.
    fn embed(&self, kernels: &Kernels, ids: &[u32]) -> Result<Tensor>;

    /// An empty sequence with room for `capacity` positions.
    ///
    /// # Errors
    /// [`Error::Capacity`](crate::Error::Capacity) beyond [`context`](Self::context).
    fn sequence(&self, kernels: &Kernels, capacity: usize) -> Result<Box<dyn Sequence>>;

    /// Appends `embeds` [L, D], L ≥ 1, to a sequence → logits after the last position [1, V].
    ///
    /// A failure leaves the sequence as it was.
    ///
    /// # Errors
    /// [`Error::EmptyPrompt`](crate::Error::EmptyPrompt), [`Error::Capacity`](crate::Error::Capacity) where the sequence
    /// has no room, a sequence of another model, or a failing operation.
    fn prefill(&self, kernels: &Kernels, sequence: &mut dyn Sequence, embeds: &Tensor) -> Result<Tensor>;

    /// Appends one token to each of B sequences in one pass over the weights → logits [B, V].
    ///
    /// Row `i` is what a step of sequence `i` alone would give. A failure leaves the sequences as they were.
    ///
    /// # Errors
    /// As [`prefill`](Self::prefill), or numbers of sequences and tokens that differ.
    fn step(&self, kernels: &Kernels, sequences: &mut [&mut dyn Sequence], tokens: &[u32]) -> Result<Tensor>;

    /// Appends `embeds` [B, L, D] to B sequences in one pass → the hidden states of all new positions [B, L, D], which
    /// [`logits`](Self::logits) turns into logits. Training and scoring need them; a decoder without them refuses.
    ///
    /// A failure leaves the sequences as they were.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    fn extend(&self, kernels: &Kernels, sequences: &mut [&mut dyn Sequence], embeds: &Tensor) -> Result<Tensor> {
        self.extend_seen(kernels, sequences, embeds, &mut |_, _| {})
    }

    /// As [`extend`](Self::extend); `after` is shown the hidden states [B, L, D] behind each layer, counted from 1, as they
    /// pass. Probes read them.
    ///
    /// # Errors
    /// As [`extend`](Self::extend).
    fn extend_seen(
        &self,
        _: &Kernels,
        _: &mut [&mut dyn Sequence],
        _: &Tensor,
        _after: &mut AfterLayer<'_>,
    ) -> Result<Tensor> {
        Err(no_hidden_states())
    }

    /// Logits [n, V] of hidden states [n, D] that [`extend`](Self::extend) gave.
    ///
    /// # Errors
    /// Another shape, or a failing operation.
    fn logits(&self, _: &Kernels, _: &Tensor) -> Result<Tensor> {
        Err(no_hidden_states())
    }
}

fn no_hidden_states() -> Error {
    Error::Mismatch {
        what: "decoder",
        expected: "one that gives the hidden states of every position".into(),
        found: "one that gives the last position's logits only".into(),
    }
}

/// Positions that a decoder has seen, with its keys and values.
pub trait Sequence: Send {
    /// How many positions there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many positions there may be.
    fn capacity(&self) -> usize;

    /// A second sequence that starts with the same positions; it shares their memory until one of the two grows.
    ///
    /// # Errors
    /// When memory runs out.
    fn fork(&self) -> Result<Box<dyn Sequence>>;

    /// Forgets every position from `len` on; more than there are changes nothing.
    fn truncate(&mut self, len: usize);

    /// For the model to recover its own type.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}
