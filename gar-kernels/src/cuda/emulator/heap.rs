//! Device memory of the emulator: NaN where nothing was written, and zones around each buffer that nobody may write to.
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use super::lock;
use crate::{Error, Result, cuda::Memory};

/// Bytes before and behind each buffer.
pub(super) const GUARD: usize = 1024;
/// Fills fresh memory and guards: NaN as bf16, f16 and f32, −1 as an integer.
const FILL: u8 = 0xff;
/// What every buffer is aligned to.
const ALIGNMENT: usize = 256;

/// Buffers by address. Kernels write to them through raw addresses, while no reference to their bytes exists.
#[derive(Debug)]
pub(super) struct Heap {
    capacity: usize,
    blocks: Mutex<BTreeMap<u64, Block>>,
}

/// Guard, buffer, guard.
#[derive(Debug)]
struct Block {
    bytes: Box<[u8]>,
    /// Where the buffer starts in `bytes`.
    start: usize,
    len: usize,
}

impl Block {
    fn new(len: usize) -> Self {
        let bytes = vec![FILL; len + 2 * GUARD + ALIGNMENT].into_boxed_slice();
        let first = bytes.as_ptr().addr() + GUARD;
        let start = GUARD + first.next_multiple_of(ALIGNMENT) - first;
        Self { bytes, start, len }
    }

    /// Where in the guards something was written, from the start of the buffer.
    fn overrun(&self) -> Option<isize> {
        let end = self.start + self.len;
        let written = |range: std::ops::Range<usize>| range.clone().find(|&i| self.bytes[i] != FILL);
        written(0..self.start).or_else(|| written(end..self.bytes.len())).map(|i| i as isize - self.start as isize)
    }
}

impl Heap {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, blocks: Mutex::default() }
    }

    /// The address of `len` new bytes, or the bytes that are free.
    pub(super) fn allocate(&self, len: usize) -> Result<u64, usize> {
        let mut blocks = lock(&self.blocks);
        let free = self.capacity - blocks.values().map(|b| b.len).sum::<usize>();
        if len > free {
            return Err(free);
        }
        let mut block = Block::new(len);
        // Exposed: kernels get to the bytes through the plain number.
        let address = block.bytes[block.start..].as_mut_ptr().expose_provenance() as u64;
        blocks.insert(address, block);
        Ok(address)
    }

    pub(super) fn write(&self, to: u64, bytes: &[u8]) -> Result<()> {
        let mut blocks = lock(&self.blocks);
        find(&mut blocks, to, bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    pub(super) fn read(&self, from: u64, bytes: &mut [u8]) -> Result<()> {
        let mut blocks = lock(&self.blocks);
        bytes.copy_from_slice(find(&mut blocks, from, bytes.len())?);
        Ok(())
    }

    /// First and last-plus-one address of every buffer, rising.
    pub(super) fn ranges(&self) -> Vec<[u64; 2]> {
        lock(&self.blocks).iter().map(|(&address, block)| [address, address + block.len as u64]).collect()
    }

    /// What was written outside a buffer, if anything was. Reported once.
    pub(super) fn check_guards(&self) -> Result<(), String> {
        let mut blocks: MutexGuard<'_, _> = lock(&self.blocks);
        for block in blocks.values_mut() {
            if let Some(at) = block.overrun() {
                let (start, end) = (block.start, block.start + block.len);
                block.bytes[..start].fill(FILL);
                block.bytes[end..].fill(FILL);
                return Err(format!("wrote outside a buffer of {} bytes, {at} bytes from its start", block.len));
            }
        }
        Ok(())
    }
}

/// `len` bytes from `address` on, all in one buffer.
fn find(blocks: &mut BTreeMap<u64, Block>, address: u64, len: usize) -> Result<&mut [u8]> {
    let refused = || {
        Error::value(
            "emulator",
            "address",
            "one that lies in a buffer with all its bytes",
            format!("{address:#x} + {len}"),
        )
    };
    let (&first, block) = blocks.range_mut(..=address).next_back().ok_or_else(refused)?;
    let offset = (address - first) as usize;
    if offset + len > block.len {
        return Err(refused());
    }
    let start = block.start + offset;
    block.bytes.get_mut(start..start + len).ok_or_else(refused)
}

impl Memory for Heap {
    fn release(&self, address: u64, _: usize) {
        lock(&self.blocks).remove(&address);
    }
}
