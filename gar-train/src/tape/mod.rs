//! A tape over a table of operations: the model that infers is the model that trains.
//!
//! [`Tape::wrap`] gives a table in which every operation calls the one it wraps and notes how to go back. The towers and
//! decoders are run with it as with any other table. Tensors are values with shared storage, so a gradient belongs to a
//! *storage*: a view ([`Tensor::rows`], [`Tensor::reshape`]) is a place in its storage's gradient and needs no note.
mod cache;
mod gradients;
mod loss;
mod ops;

use std::{
    collections::HashSet,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gar_core::kernels::{DType, Kernels, Result, Tensor};

pub use gradients::Gradients;
use gradients::{Key, key};

/// Computes the gradients of an operation's inputs, given its output's.
type Back = Box<dyn FnOnce(&Kernels, Vec<f32>, &mut Gradients) -> Result<()> + Send>;

/// One operation that was run.
struct Node {
    op: &'static str,
    /// Keeps its storage alive, so that no later storage takes its address.
    output: Tensor,
    back: Back,
}

#[derive(Default)]
struct Record {
    /// Storages that a gradient is wanted of.
    wanted: HashSet<Key>,
    /// Keeps the storages of the leaves alive.
    leaves: Vec<Tensor>,
    nodes: Vec<Node>,
}

/// What was computed with a wrapped table, in order.
///
/// Operations of which no input leads back to a watched tensor are not noted and cost nothing.
#[derive(Clone)]
pub struct Tape {
    inner: Kernels,
    record: Arc<Mutex<Record>>,
}

impl Tape {
    /// A table that computes as `inner` does and is noted on the tape.
    ///
    /// Gradients are computed in f32: the large products by `inner`, the rest on the host. A model whose weights are watched
    /// is loaded with the wrapped table, which leaves weights as they are
    /// ([`MatMul::prepare`](gar_core::kernels::ops::MatMul::prepare)).
    ///
    /// ```
    /// use gar_core::kernels::{Kernels, Tensor};
    /// use gar_train::Tape;
    ///
    /// let (kernels, tape) = Tape::wrap(Kernels::cpu());
    /// let x = Tensor::from_vec(vec![1.0_f32, 2.0], &[1, 2])?;
    /// let w = Tensor::from_vec(vec![3.0_f32, 4.0], &[1, 2])?;
    /// tape.watch([&w]);
    /// let y = kernels.matmul.matmul(&x, &w, Default::default())?;
    /// let gradients = tape.backward(&y)?;
    /// assert_eq!(gradients.of(&w), Some([1.0, 2.0].as_slice()));
    /// assert_eq!(gradients.of(&x), None);
    /// # Ok::<(), gar_core::kernels::Error>(())
    /// ```
    pub fn wrap(inner: Kernels) -> (Kernels, Self) {
        let tape = Self { inner, record: Arc::default() };
        let own = Arc::new(tape.clone());
        let kernels = Kernels {
            device: own.clone(),
            matmul: own.clone(),
            norm: own.clone(),
            rotary: own.clone(),
            attention: own.clone(),
            cached_attention: own.clone(),
            roi_align: own.clone(),
            pool: own.clone(),
            pointwise: own.clone(),
            rows: own.clone(),
            patch_embed: own,
            argmax: tape.inner.argmax.clone(),
            sample: tape.inner.sample.clone(),
        };
        (kernels, tape)
    }

    /// Asks for the gradients of these tensors' storages. Only f32 tensors have any.
    pub fn watch<'t>(&self, tensors: impl IntoIterator<Item = &'t Tensor>) {
        let mut record = self.lock();
        for tensor in tensors.into_iter().filter(|t| t.dtype() == DType::F32) {
            record.wanted.insert(key(tensor));
            record.leaves.push(tensor.clone());
        }
    }

    /// The gradients of the one entry of `loss`. The tape is empty afterwards, what it watches stays watched.
    ///
    /// # Errors
    /// What an operation refuses; a loss of more than one entry.
    pub fn backward(&self, loss: &Tensor) -> Result<Gradients> {
        loss.reshape(&[1])?;
        let (nodes, wanted) = {
            let mut record = self.lock();
            let leaves: HashSet<Key> = record.leaves.iter().map(key).collect();
            let wanted = std::mem::replace(&mut record.wanted, leaves);
            (std::mem::take(&mut record.nodes), wanted)
        };
        let mut gradients = Gradients::new(wanted);
        gradients.add(loss, &[1.0]);
        // Whoever used an output stands behind it on the tape, so its gradient is whole when its node is reached.
        for Node { output, back, .. } in nodes.into_iter().rev() {
            if let Some(dy) = gradients.take(&output) {
                back(&self.inner, dy, &mut gradients)?;
            }
        }
        Ok(gradients)
    }

    /// The first operation whose output holds a NaN or an infinity: its number on the tape and its name.
    ///
    /// # Errors
    /// A failing device.
    pub fn first_not_finite(&self) -> Result<Option<(usize, &'static str)>> {
        let record = self.lock();
        for (i, node) in record.nodes.iter().enumerate() {
            let host = self.inner.device.download(&node.output)?;
            if host.to_f32_vec()?.iter().any(|v| !v.is_finite()) {
                return Ok(Some((i, node.op)));
            }
        }
        Ok(None)
    }

    /// Notes an operation where one of `inputs` leads back to a watched tensor. `back` keeps what it needs.
    fn note<F>(&self, op: &'static str, inputs: &[Option<&Tensor>], output: &Tensor, back: impl FnOnce() -> F)
    where
        F: FnOnce(&Kernels, Vec<f32>, &mut Gradients) -> Result<()> + Send + 'static,
    {
        let mut record = self.lock();
        if inputs.iter().flatten().any(|input| record.wanted.contains(&key(input))) {
            record.wanted.insert(key(output));
            record.nodes.push(Node { op, output: output.clone(), back: Box::new(back()) });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The elements of a tensor on the host in f32, shared with the tensor where they are f32 there already.
pub(crate) enum Host {
    Shared(Tensor),
    Widened(Vec<f32>),
}

impl Deref for Host {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            // `host` looked that the elements are there.
            Self::Shared(tensor) => tensor.host().unwrap_or_default(),
            Self::Widened(values) => values,
        }
    }
}

/// The elements of a tensor that is not needed any more.
pub(crate) fn into_host(k: &Kernels, tensor: Tensor) -> Result<Vec<f32>> {
    let on_host = k.device.download(&tensor)?;
    drop(tensor);
    on_host.into_f32_vec()
}

pub(crate) fn host(k: &Kernels, tensor: &Tensor) -> Result<Host> {
    let tensor = k.device.download(tensor)?;
    match tensor.dtype() {
        DType::F32 => tensor.host::<f32>().map(drop).map(|()| Host::Shared(tensor)),
        DType::U8 => Ok(Host::Widened(tensor.host::<u8>()?.iter().map(|&byte| byte.into()).collect())),
        _ => tensor.to_f32_vec().map(Host::Widened),
    }
}
