//! Coefficients from bits: Huffman codes, sequential and progressive scans (T.81, annexes F and G).

use super::{Frame, bad};
use crate::Result;

/// Place in a block, row by row, of each coefficient in the order of the file.
pub(super) const ZIGZAG: [usize; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

/// Codes up to this length are looked up, longer ones are searched by length.
const LOOKUP_BITS: u32 = 9;

/// A canonical Huffman code.
pub(super) struct Huffman {
    /// Length and value of the code that begins with these bits; length 0 where it is longer.
    lookup: Vec<(u8, u8)>,
    /// For each length: first code beyond it, aligned to 16 bits, and the offset from codes to values.
    limits: [(u32, i32); 17],
    values: Vec<u8>,
}

impl Huffman {
    /// A code with `counts[l − 1]` codes of length l; none if there are more than fit.
    pub(super) fn new(counts: &[u8], values: &[u8]) -> Option<Self> {
        let mut lookup = vec![(0, 0); 1 << LOOKUP_BITS];
        let mut limits = [(0, 0); 17];
        let (mut code, mut next) = (0u32, 0usize);
        for (length, &count) in (1u32..=16).zip(counts) {
            limits[length as usize].1 = next as i32 - code as i32;
            for _ in 0..count {
                if length <= LOOKUP_BITS {
                    let first = (code << (LOOKUP_BITS - length)) as usize;
                    lookup.get_mut(first..first + (1 << (LOOKUP_BITS - length)))?.fill((length as u8, values[next]));
                }
                code += 1;
                next += 1;
            }
            if code > 1 << length {
                return None;
            }
            limits[length as usize].0 = code << (16 - length);
            code <<= 1;
        }
        Some(Self { lookup, limits, values: values.to_vec() })
    }
}

/// Bits of one scan, most significant first; 0xFF is followed by a stuffed zero or ends them.
pub(super) struct Bits<'a> {
    data: &'a [u8],
    buffer: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, buffer: 0, count: 0 }
    }

    /// What follows the bytes read so far. Whole bytes that were read ahead hold no marker.
    pub(super) fn remaining(&self) -> &'a [u8] {
        self.data
    }

    fn fill(&mut self) {
        while self.count <= 48 {
            let (byte, read) = match self.data {
                [0xFF, 0x00, ..] => (0xFF, 2),
                [0xFF, ..] | [] => return,
                [byte, ..] => (*byte, 1),
            };
            self.data = &self.data[read..];
            self.buffer = self.buffer << 8 | u64::from(byte);
            self.count += 8;
        }
    }

    /// The next 16 bits, zeros behind the last.
    fn peek(&mut self) -> u32 {
        if self.count < 16 {
            self.fill();
        }
        let bits = if self.count >= 16 { self.buffer >> (self.count - 16) } else { self.buffer << (16 - self.count) };
        bits as u32 & 0xFFFF
    }

    fn skip(&mut self, count: u32) -> Result<()> {
        self.count = self.count.checked_sub(count).ok_or_else(|| bad("scan", "more data", "its end"))?;
        Ok(())
    }

    fn take(&mut self, count: u32) -> Result<i32> {
        if count == 0 {
            return Ok(0);
        }
        let bits = self.peek() >> (16 - count);
        self.skip(count)?;
        Ok(bits as i32)
    }

    /// A signed number of `count` bits: the upper half of the range is positive, the lower half negative.
    fn signed(&mut self, count: u32) -> Result<i32> {
        let bits = self.take(count)?;
        Ok(if count > 0 && bits < 1 << (count - 1) { bits - (1 << count) + 1 } else { bits })
    }

    fn symbol(&mut self, code: &Huffman) -> Result<u32> {
        let bits = self.peek();
        let (length, value) = code.lookup[(bits >> (16 - LOOKUP_BITS)) as usize];
        if length > 0 {
            self.skip(u32::from(length))?;
            return Ok(u32::from(value));
        }
        for length in LOOKUP_BITS + 1..=16 {
            let (limit, offset) = code.limits[length as usize];
            if bits < limit {
                self.skip(length)?;
                let at = (bits >> (16 - length)) as i32 + offset;
                return code
                    .values
                    .get(at as usize)
                    .map(|&v| u32::from(v))
                    .ok_or_else(|| bad("scan", "a code", "none"));
            }
        }
        Err(bad("scan", "a Huffman code of its table", format!("{bits:016b}")))
    }

    /// Moves past a restart marker.
    fn restart(&mut self) -> Result<()> {
        (self.buffer, self.count) = (0, 0);
        match self.data {
            [0xFF, 0xD0..=0xD7, rest @ ..] => self.data = rest,
            _ => return Err(bad("scan", "a restart marker", format!("{:x?}", self.data.get(..2)))),
        }
        Ok(())
    }
}

/// One pass over some components.
pub(super) struct Scan {
    /// Component, and the slots of its DC and AC codes.
    pub(super) components: Vec<(usize, usize, usize)>,
    /// First and last coefficient, in file order.
    first: usize,
    last: usize,
    /// Bits that earlier scans left out, and that this one leaves out.
    high: u32,
    low: u32,
}

/// What carries over from block to block.
#[derive(Default)]
struct State {
    dc: [i32; 4],
    /// Further blocks without new coefficients.
    empty_blocks: u32,
}

impl Scan {
    pub(super) fn parse(body: &[u8], frame: &Frame) -> Result<Self> {
        let wrong = || {
            bad("scan header", "components of the frame, code slots of 0 to 3, a spectral range", format!("{body:x?}"))
        };
        let count = usize::from(*body.first().ok_or_else(wrong)?);
        let [first, last, bits] = *body.get(1 + 2 * count..4 + 2 * count).ok_or_else(wrong)? else {
            return Err(wrong());
        };
        let mut components: Vec<(usize, usize, usize)> = Vec::new();
        for spec in body[1..1 + 2 * count].chunks_exact(2) {
            let i = frame.components.iter().position(|c| c.id == spec[0]).ok_or_else(wrong)?;
            if components.iter().any(|&(other, ..)| other == i) || spec[1] >> 4 > 3 || spec[1] & 15 > 3 {
                return Err(wrong());
            }
            components.push((i, usize::from(spec[1] >> 4), usize::from(spec[1] & 15)));
        }
        let (high, low) = (u32::from(bits >> 4), u32::from(bits & 15));
        // A sequential scan has all coefficients, whatever its header says.
        let (first, last, high, low) =
            if frame.progressive { (usize::from(first), usize::from(last), high, low) } else { (0, 63, 0, 0) };
        let spectral = !frame.progressive || (first == 0) == (last == 0) && (first == 0 || components.len() == 1);
        if components.is_empty() || last > 63 || first > last || low > 13 || high > 14 || !spectral {
            return Err(wrong());
        }
        Ok(Self { components, first, last, high, low })
    }

    /// Reads the scan's bits into the frame's coefficients.
    pub(super) fn decode(
        &self,
        frame: &mut Frame,
        codes: &[[Option<Huffman>; 4]; 2],
        restart_interval: usize,
        bits: &mut Bits<'_>,
    ) -> Result<()> {
        // A scan of one component goes over its own blocks, one of several over MCUs.
        let alone = self.components.len() == 1;
        let (columns, rows) = match self.components.as_slice() {
            [(i, ..)] => (frame.components[*i].width.div_ceil(8), frame.components[*i].height.div_ceil(8)),
            _ => (frame.mcu_columns, frame.mcu_rows),
        };
        let mut state = State::default();
        for unit in 0..columns * rows {
            if restart_interval > 0 && unit > 0 && unit.is_multiple_of(restart_interval) {
                bits.restart()?;
                state = State::default();
            }
            let (row, column) = (unit / columns, unit % columns);
            for &(i, dc, ac) in &self.components {
                let component = &mut frame.components[i];
                let (across, down) = if alone { (1, 1) } else { (component.across, component.down) };
                for (y, x) in (0..down).flat_map(|y| (0..across).map(move |x| (y, x))) {
                    let at = ((row * down + y) * component.columns + column * across + x) * 64;
                    let block = &mut component.coefficients[at..at + 64];
                    let code = |class: usize, slot: usize| {
                        codes[class][slot]
                            .as_ref()
                            .ok_or_else(|| bad("scan", "a Huffman table", format!("empty slot {slot}")))
                    };
                    match (frame.progressive, self.first, self.high) {
                        (false, ..) => sequential(block, bits, code(0, dc)?, code(1, ac)?, &mut state.dc[i])?,
                        (true, 0, 0) => {
                            state.dc[i] = state.dc[i].wrapping_add(difference(bits, code(0, dc)?)?);
                            block[0] = (state.dc[i] << self.low) as i16;
                        }
                        (true, 0, _) => block[0] |= (bits.take(1)? << self.low) as i16,
                        (true, _, 0) => self.first_pass(block, bits, code(1, ac)?, &mut state.empty_blocks)?,
                        (true, ..) => self.refinement(block, bits, code(1, ac)?, &mut state.empty_blocks)?,
                    }
                }
            }
        }
        Ok(())
    }

    /// First bits of a range of AC coefficients (T.81, G.1.2.2).
    fn first_pass(&self, block: &mut [i16], bits: &mut Bits<'_>, code: &Huffman, empty: &mut u32) -> Result<()> {
        if *empty > 0 {
            *empty -= 1;
            return Ok(());
        }
        let mut k = self.first;
        while k <= self.last {
            let symbol = bits.symbol(code)?;
            let (run, size) = (symbol >> 4, symbol & 15);
            match (run, size) {
                (15, 0) => k += 16,
                (_, 0) => {
                    *empty = (1 << run) - 1 + bits.take(run)? as u32;
                    break;
                }
                _ => {
                    k += run as usize;
                    *entry(block, k)? = (bits.signed(size)? << self.low) as i16;
                    k += 1;
                }
            }
        }
        Ok(())
    }

    /// One more bit of a range of AC coefficients (T.81, G.1.2.3).
    fn refinement(&self, block: &mut [i16], bits: &mut Bits<'_>, code: &Huffman, empty: &mut u32) -> Result<()> {
        let one = 1i16 << self.low;
        let mut k = self.first;
        while *empty == 0 && k <= self.last {
            let symbol = bits.symbol(code)?;
            let (mut run, size) = (symbol >> 4, symbol & 15);
            let new = match size {
                0 if run < 15 => {
                    *empty = (1 << run) + bits.take(run)? as u32;
                    break;
                }
                0 => 0,
                1 => {
                    if bits.take(1)? == 1 {
                        one
                    } else {
                        -one
                    }
                }
                _ => return Err(bad("scan", "a refinement of one bit", size)),
            };
            // The run counts coefficients that are still zero; the others on the way get their next bit.
            while k <= self.last {
                let value = entry(block, k)?;
                if *value != 0 {
                    refine(value, bits, one)?;
                } else if run == 0 {
                    *value = new;
                    break;
                } else {
                    run -= 1;
                }
                k += 1;
            }
            k += 1;
        }
        if *empty > 0 {
            for k in k..=self.last {
                let value = entry(block, k)?;
                if *value != 0 {
                    refine(value, bits, one)?;
                }
            }
            *empty -= 1;
        }
        Ok(())
    }
}

fn refine(value: &mut i16, bits: &mut Bits<'_>, one: i16) -> Result<()> {
    if bits.take(1)? == 1 && *value & one == 0 {
        *value = value.wrapping_add(if *value >= 0 { one } else { -one });
    }
    Ok(())
}

fn sequential(block: &mut [i16], bits: &mut Bits<'_>, dc: &Huffman, ac: &Huffman, last_dc: &mut i32) -> Result<()> {
    *last_dc = last_dc.wrapping_add(difference(bits, dc)?);
    block[0] = *last_dc as i16;
    let mut k = 1;
    while k < 64 {
        let symbol = bits.symbol(ac)?;
        let (run, size) = (symbol >> 4, symbol & 15);
        match (run, size) {
            (15, 0) => k += 16,
            (_, 0) => break,
            _ => {
                k += run as usize;
                *entry(block, k)? = bits.signed(size)? as i16;
                k += 1;
            }
        }
    }
    Ok(())
}

/// Difference of a DC coefficient from the one before.
fn difference(bits: &mut Bits<'_>, code: &Huffman) -> Result<i32> {
    match bits.symbol(code)? {
        size @ 0..=15 => bits.signed(size),
        size => Err(bad("scan", "a DC difference of at most 15 bits", size)),
    }
}

/// Coefficient `k` in file order.
fn entry(block: &mut [i16], k: usize) -> Result<&mut i16> {
    match ZIGZAG.get(k) {
        Some(&at) => Ok(&mut block[at]),
        None => Err(bad("scan", "64 coefficients a block", k + 1)),
    }
}
