//! Weights in 8 bits: per row of a matrix [N, K] a step, and levels −127 … 127 of it.
use std::sync::Arc;

use rayon::prelude::*;

use crate::{DType, Error, Result, Tensor, host::HostStorage};

const OP: &str = "quantize";

/// The largest level; −128 is not used, so that a weight and its negation have the same levels.
pub(crate) const LEVELS: f32 = 127.0;

/// The step of a row, and what its entries are multiplied with to get levels.
///
/// A row of zeros has step 0. So has one whose largest entry is below 1e-37, which no layer produces: the inverse would
/// overflow. A row with an infinity or a NaN has a step that is NaN, so that its results show it.
pub(crate) fn step(row: &[f32]) -> (f32, f32) {
    const LEAST: f32 = 1e-37;
    // Magnitudes are ordered as their bits are, those of infinities and NaNs last.
    let largest = f32::from_bits(row.iter().fold(0, |most, v| most.max(v.abs().to_bits())));
    match (largest.is_finite(), largest > LEAST) {
        (false, _) => (f32::NAN, 0.0),
        (true, false) => (0.0, 0.0),
        (true, true) => (largest / LEVELS, LEVELS / largest),
    }
}

/// The level nearest to a value, ties to even: adding 1.5·2²³ leaves no bits for a fraction, and the low bits are those of
/// the integer, which a conversion that minds its range takes longer to find. Of a row that is not finite, any number.
#[inline(always)]
pub(crate) fn level(value: f32, inverse: f32) -> i32 {
    const ROUND: f32 = 12_582_912.0;
    (value * inverse + ROUND).to_bits().wrapping_sub(ROUND.to_bits()).cast_signed()
}

impl Tensor {
    /// This matrix [N, K] in 8 bits: an `i8` tensor of levels with a step for each row, step · level ≈ entry. It stands for
    /// a weight wherever an implementation takes one in 8 bits.
    ///
    /// ```
    /// use gar_kernels::Tensor;
    /// let w = Tensor::from_vec(vec![0.5_f32, -2.0, 1.27, 0.01], &[2, 2])?.quantized()?;
    /// assert_eq!(w.host::<i8>()?, [32, -127, 127, 1]);
    /// assert_eq!(w.steps(), Some(&[2.0 / 127.0, 1.27 / 127.0][..]));
    /// # Ok::<(), gar_kernels::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] unless it is a matrix, [`Error::DType`] unless it is floating point, [`Error::Device`] unless it is
    /// on the host.
    pub fn quantized(&self) -> Result<Self> {
        let [n, k] = self.dims(OP, "w")?;
        if !self.dtype().is_float() {
            return Err(Error::DType { op: OP, what: "w", expected: "f32, f16 or bf16", found: self.dtype() });
        }
        let (mut levels, mut steps) = (vec![0_i8; n * k], vec![0_f32; n]);
        let quantize = |(row, (levels, own_step)): (usize, (&mut [i8], &mut f32))| -> Result<()> {
            let values = self.rows(row..row + 1)?.to_f32_vec()?;
            let (size, inverse) = step(&values);
            *own_step = size;
            levels.iter_mut().zip(values).for_each(|(to, v)| *to = level(v, inverse) as i8);
            Ok(())
        };
        levels.par_chunks_mut(k.max(1)).zip(&mut steps).enumerate().try_for_each(quantize)?;
        Self::from_levels(Self::from_vec(levels, &[n, k])?, steps)
    }

    /// A matrix of levels [N, K] with the step of each row.
    pub(crate) fn from_levels(levels: Self, steps: Vec<f32>) -> Result<Self> {
        let [n, k] = levels.dims(OP, "levels")?;
        if steps.len() != n {
            return Err(Error::shape(OP, "steps", format!("[{n}]"), &[steps.len()]));
        }
        let (inner, offset) = levels.storage();
        if levels.dtype() != DType::I8 || offset != 0 {
            return Err(Error::DType { op: OP, what: "levels", expected: "a whole i8 tensor", found: levels.dtype() });
        }
        let storage = HostStorage::Quantized { levels: inner.clone(), steps };
        Self::from_storage(Arc::new(storage), DType::I8, &[n, k])
    }

    /// The step of each row, where this is a matrix in 8 bits.
    pub fn steps(&self) -> Option<&[f32]> {
        let (storage, offset) = self.storage();
        let HostStorage::Quantized { steps, .. } = storage.as_any().downcast_ref::<HostStorage>()? else { return None };
        let [n, k] = <[usize; 2]>::try_from(self.shape()).ok()?;
        let first = offset.checked_div(k).unwrap_or(0);
        steps.get(first..first + n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_within_half_a_step() {
        let values: Vec<f32> = (0..297).map(|i| (i as f32 * 0.37).sin() * 3.0).collect();
        let w = Tensor::from_vec(values.clone(), &[3, 99]).unwrap().quantized().unwrap();
        let steps = w.steps().unwrap();
        for (i, (v, level)) in values.iter().zip(w.host::<i8>().unwrap()).enumerate() {
            let step = steps[i / 99];
            assert!((f32::from(*level) * step - v).abs() <= step * 0.500_01, "{v} became level {level} of {step}");
        }
        let tail = w.rows(1..3).unwrap();
        assert_eq!((tail.steps().unwrap(), tail.host::<i8>().unwrap()), (&steps[1..], &w.host::<i8>().unwrap()[99..]));
    }

    #[test]
    fn rows_without_a_step() {
        assert_eq!(step(&[0.0, -0.0]), (0.0, 0.0));
        assert!(step(&[1.0, f32::INFINITY]).0.is_nan());
        assert!(step(&[f32::NAN]).0.is_nan());
        let empty = Tensor::from_vec(Vec::<f32>::new(), &[2, 0]).unwrap().quantized().unwrap();
        assert_eq!(empty.steps(), Some(&[0.0, 0.0][..]));
        assert!(Tensor::from_vec(vec![0_u8; 4], &[2, 2]).unwrap().quantized().is_err());
    }
}
