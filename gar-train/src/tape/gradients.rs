//! Gradients by storage.
use std::collections::{HashMap, HashSet};

use gar_core::kernels::Tensor;

/// A storage, by the address of its allocation. Whoever keeps a key keeps the storage alive.
pub(super) type Key = usize;

/// The storage of a tensor.
pub(super) fn key(tensor: &Tensor) -> Key {
    std::sync::Arc::as_ptr(tensor.storage().0).cast::<()>().addr()
}

/// Gradients of storages, f32, dense.
#[derive(Default)]
pub struct Gradients {
    wanted: HashSet<Key>,
    by_storage: HashMap<Key, Vec<f32>>,
}

impl Gradients {
    pub(super) fn new(wanted: HashSet<Key>) -> Self {
        Self { wanted, by_storage: HashMap::new() }
    }

    /// The gradient of a tensor or of a view of one, row-major; `None` where the loss does not depend on it or it was
    /// not watched.
    pub fn of(&self, tensor: &Tensor) -> Option<&[f32]> {
        let offset = tensor.storage().1;
        self.by_storage.get(&key(tensor))?.get(offset..offset + tensor.len())
    }

    /// Takes the gradient of a tensor that fills its storage.
    pub fn take(&mut self, tensor: &Tensor) -> Option<Vec<f32>> {
        self.by_storage.remove(&key(tensor))
    }

    /// Whether anyone asks for a tensor's gradient.
    pub(crate) fn wants(&self, tensor: &Tensor) -> bool {
        self.wanted.contains(&key(tensor))
    }

    /// Adds to the gradient of a tensor, where it is wanted.
    pub(crate) fn add(&mut self, tensor: &Tensor, values: &[f32]) {
        if self.is_first(tensor, values.len()) {
            self.by_storage.insert(key(tensor), values.to_vec());
        } else {
            self.update(tensor, |sum| sum.iter_mut().zip(values).for_each(|(s, v)| *s += v));
        }
    }

    /// As [`add`](Self::add), keeping the vector where it is the first to come.
    pub(crate) fn give(&mut self, tensor: &Tensor, values: Vec<f32>) {
        if self.is_first(tensor, values.len()) {
            self.by_storage.insert(key(tensor), values);
        } else {
            self.add(tensor, &values);
        }
    }

    /// Whether `len` values are wanted, are the first to come, and fill the storage.
    fn is_first(&self, tensor: &Tensor, len: usize) -> bool {
        let first = self.wants(tensor) && !self.by_storage.contains_key(&key(tensor));
        first && tensor.storage().1 == 0 && elements(tensor) == len
    }

    /// Lets `update` add to the gradient of a tensor, zero at first, where it is wanted.
    pub(crate) fn update(&mut self, tensor: &Tensor, update: impl FnOnce(&mut [f32])) {
        if !self.wants(tensor) {
            return;
        }
        let all = self.by_storage.entry(key(tensor)).or_insert_with(|| vec![0.0; elements(tensor)]);
        let offset = tensor.storage().1;
        if let Some(place) = all.get_mut(offset..offset + tensor.len()) {
            update(place);
        }
    }
}

/// Elements of a tensor's whole storage.
fn elements(tensor: &Tensor) -> usize {
    tensor.storage().0.byte_len() / tensor.dtype().size()
}
