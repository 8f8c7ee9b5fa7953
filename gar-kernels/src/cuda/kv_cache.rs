//! Keys and values of one sequence on a device, in pages.
//!
//! A page holds [`PAGE`] positions of all layers. Forks share pages; the one that writes first copies the page it writes to.
use std::{any::Any, sync::Arc};

use super::{Buffer, CudaDevice, Pointer};
use crate::{
    DType, Result,
    ops::{CacheSpec, Filled, KvCache},
};

/// Positions of a page: a multiple of every tile of keys, and 16 KiB a head and layer, so that a page reads as fast as
/// contiguous memory.
pub(super) const PAGE: usize = 128;

/// Pages of one sequence.
#[derive(Debug)]
pub(super) struct CudaCache {
    pub(super) device: Arc<CudaDevice>,
    pub(super) dtype: DType,
    filled: Filled,
    /// [layers, keys and values, kv_heads, PAGE, head_dim] each.
    pages: Vec<Arc<Buffer>>,
}

impl CudaCache {
    /// No page yet.
    pub(super) fn new(device: Arc<CudaDevice>, dtype: DType, spec: CacheSpec) -> Self {
        Self { device, dtype, filled: Filled::nothing(spec), pages: Vec::new() }
    }

    /// Elements of a page; nothing where a kernel's offsets, 32 bits, do not reach its end.
    pub(super) fn page_elements(spec: CacheSpec) -> Option<usize> {
        let of = [spec.layers, 2, spec.kv_heads, PAGE, spec.head_dim];
        of.into_iter().try_fold(1_usize, usize::checked_mul).filter(|&elements| i32::try_from(elements).is_ok())
    }

    /// Makes room for `rows` positions behind the filled ones, in pages that nobody else holds.
    pub(super) fn reserve(&mut self, rows: usize) -> Result<()> {
        let bytes = Self::page_elements(self.filled.spec()).unwrap_or(0) * self.dtype.size();
        let runtime = self.device.runtime();
        for index in self.filled.len() / PAGE..(self.filled.len() + rows).div_ceil(PAGE) {
            let Some(page) = self.pages.get_mut(index) else {
                self.pages.push(runtime.allocate(bytes)?);
                continue;
            };
            if Arc::strong_count(page) > 1 {
                let own = runtime.allocate(bytes)?;
                // A page behind the filled positions holds nothing that counts.
                if index * PAGE < self.filled.len() {
                    runtime.copy(page.pointer(), own.pointer(), bytes)?;
                }
                *page = own;
            }
        }
        Ok(())
    }

    /// Where the pages start that hold positions `0 .. len + rows`.
    pub(super) fn pages(&self, rows: usize) -> impl Iterator<Item = Pointer> {
        self.pages.iter().take((self.filled.len() + rows).div_ceil(PAGE)).map(|page| page.pointer())
    }
}

impl KvCache for CudaCache {
    fn filled(&self) -> &Filled {
        &self.filled
    }

    fn filled_mut(&mut self) -> &mut Filled {
        &mut self.filled
    }

    fn fork(&self) -> Result<Box<dyn KvCache>> {
        let pages = self.pages.iter().take(self.filled.len().div_ceil(PAGE)).cloned().collect();
        Ok(Box::new(Self { device: self.device.clone(), pages, ..*self }))
    }

    fn truncate(&mut self, len: usize) {
        self.filled.truncate(len);
        self.pages.truncate(self.filled.len().div_ceil(PAGE));
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
