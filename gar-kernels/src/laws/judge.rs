//! Runs one law: draws inputs, shrinks what fails, compares arrays with tensors.
use ndarray::{Array, ArrayD, Dimension, IxDyn};
use proptest::{
    strategy::Strategy,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};

use crate::{DType, Device, Error, Tensor, bf16, f16};

/// How an implementation is judged.
#[derive(Clone, Debug, PartialEq)]
pub struct LawConfig {
    /// Inputs drawn for each law.
    pub cases: u32,
    /// Where the drawing starts: one seed, one set of inputs.
    pub seed: u64,
    /// Largest deviation from the f64 reference, as a share of the largest expected entry (of 1, if all are smaller).
    pub tolerance: f64,
    /// Element type of activations: the type tensors are uploaded in.
    pub activations: DType,
    /// Element types that weights, embedding tables and convolutions must be accepted in.
    pub weights: Vec<DType>,
    /// Extents are drawn from 0, 1 and each of these ± 1.
    pub tiles: Vec<usize>,
    /// Head sizes that attention and rotary embedding must accept; even.
    pub head_dims: Vec<usize>,
}

impl LawConfig {
    /// For arithmetic in f32. The tolerance, 2e-5, is some 170 roundings of the largest entry.
    pub fn f32() -> Self {
        Self {
            cases: 32,
            seed: 0,
            tolerance: 2e-5,
            activations: DType::F32,
            weights: vec![DType::F32, DType::F16, DType::BF16],
            tiles: vec![8, 16, 64, 128],
            head_dims: vec![8, 64, 96, 128],
        }
    }

    /// For activations and weights in bf16 with sums in f32. The tolerance, 2e-2, is some five roundings to 8 bits.
    pub fn bf16() -> Self {
        Self { tolerance: 2e-2, activations: DType::BF16, weights: vec![DType::BF16], ..Self::f32() }
    }
}

impl Default for LawConfig {
    fn default() -> Self {
        Self::f32()
    }
}

/// A law that an implementation breaks, and the smallest input found on which it does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{op}: {law}: expected {expected}, found {found}, on {input}")]
#[non_exhaustive]
pub struct Violation {
    /// The operation, by the name of its module: `roi_align`.
    pub op: &'static str,
    /// The law, as a sentence.
    pub law: &'static str,
    /// The shrunken input: extents, parameters, and the seed that its values are drawn from.
    pub input: String,
    /// What should have come out.
    pub expected: String,
    /// What came out.
    pub found: String,
}

/// Why one input fails a law.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    expected: String,
    found: String,
}

/// Verdict on one input.
pub(super) type Verdict<T = ()> = Result<T, Failure>;

impl Failure {
    pub(super) fn new(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { expected: expected.into(), found: found.into() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new("a result", format!("the error \"{error}\""))
    }
}

/// Judges one operation on one device.
pub(super) struct Judge<'a> {
    pub(super) op: &'static str,
    pub(super) device: &'a dyn Device,
    pub(super) config: &'a LawConfig,
}

impl Judge<'_> {
    /// Checks `law` on inputs drawn from `inputs`; a panic of the implementation is a failure.
    pub(super) fn law<S: Strategy>(
        &self,
        law: &'static str,
        inputs: S,
        check: impl Fn(&S::Value) -> Verdict,
    ) -> Result<(), Violation> {
        let config = Config { cases: self.config.cases, failure_persistence: None, ..Config::default() };
        let mut runner = TestRunner::new_with_rng(config, self.rng(law));
        let verdict = runner.run(&inputs, |input| {
            check(&input).map_err(|f| TestCaseError::fail(format!("expected {}, found {}", f.expected, f.found)))
        });
        let (input, reason) = match verdict {
            Ok(()) => return Ok(()),
            Err(TestError::Fail(reason, input)) => {
                // Shrinking ends on an input that passed; this one again gives its own failure.
                let reason =
                    check_again(&check, &input).unwrap_or_else(|| Failure::new("no panic", reason.to_string()));
                (format!("{input:?}"), reason)
            }
            Err(TestError::Abort(reason)) => (String::new(), Failure::new("inputs to judge", reason.to_string())),
        };
        Err(Violation { op: self.op, law, input, expected: reason.expected, found: reason.found })
    }

    /// A generator that depends on the seed, the operation and the law (FNV-1a), not on the order of laws.
    fn rng(&self, law: &str) -> TestRng {
        let hash = [self.op, law]
            .iter()
            .flat_map(|s| s.bytes())
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.config.seed.to_le_bytes());
        seed[8..16].copy_from_slice(&hash.to_le_bytes());
        TestRng::from_seed(RngAlgorithm::ChaCha, &seed)
    }

    /// Uploads an activation, rounded to the activations' type.
    pub(super) fn up<D: Dimension>(&self, array: &Array<f64, D>) -> Verdict<Tensor> {
        self.up_as(array, self.config.activations)
    }

    /// Uploads an array in any floating-point type.
    pub(super) fn up_as<D: Dimension>(&self, array: &Array<f64, D>, dtype: DType) -> Verdict<Tensor> {
        let values = array.iter().copied();
        let host = match dtype {
            DType::F16 => Tensor::from_vec(values.map(f16::from_f64).collect(), array.shape()),
            DType::BF16 => Tensor::from_vec(values.map(bf16::from_f64).collect(), array.shape()),
            _ => Tensor::from_vec(values.map(|v| v as f32).collect(), array.shape()),
        }?;
        Ok(self.device.upload(&host)?)
    }

    /// Downloads a result.
    pub(super) fn down(&self, tensor: &Tensor) -> Verdict<ArrayD<f64>> {
        let values = self.device.download(tensor)?.to_f32_vec()?;
        let found = values.len();
        ArrayD::from_shape_vec(IxDyn(tensor.shape()), values.into_iter().map(f64::from).collect())
            .map_err(|_| Failure::new(format!("{:?} elements", tensor.shape()), found.to_string()))
    }

    /// Compares a result with the expected array: shape, then every element within the tolerance.
    pub(super) fn close<D: Dimension>(&self, expected: &Array<f64, D>, found: &Tensor) -> Verdict {
        if found.shape() != expected.shape() {
            return Err(Failure::new(format!("shape {:?}", expected.shape()), format!("shape {:?}", found.shape())));
        }
        let largest = expected.iter().fold(1.0_f64, |m, v| m.max(v.abs()));
        let tolerance = self.config.tolerance * largest;
        let found = self.down(found)?;
        for (at, (expected, found)) in expected.iter().zip(found.iter()).enumerate() {
            // Written so that a NaN on either side fails.
            let within = (found - expected).abs() <= tolerance;
            if !within {
                return Err(Failure::new(
                    format!("{expected:.9} ± {tolerance:.1e} at flat index {at}"),
                    format!("{found:.9}"),
                ));
            }
        }
        Ok(())
    }

    /// Compares two results of the implementation.
    pub(super) fn same(&self, expected: &Tensor, found: &Tensor) -> Verdict {
        self.close(&self.down(expected)?, found)
    }

    /// Compares two results of the implementation, of which the second may be of another type.
    pub(super) fn same_in_its_type(&self, expected: &Tensor, found: &Tensor) -> Verdict {
        // By way of f32, which results fit: the crate's own way from f64 takes some numbers just above a tie for ties.
        let as_found = |v: f64| match found.dtype() {
            DType::F16 => f16::from_f32(v as f32).to_f64(),
            DType::BF16 => bf16::from_f32(v as f32).to_f64(),
            _ => v,
        };
        self.close(&self.down(expected)?.mapv_into(as_found), found)
    }

    /// Uploads an activation in the type that an operation says to round it to, if it says so.
    pub(super) fn up_rounded<D: Dimension>(&self, array: &Array<f64, D>, rounding: Option<DType>) -> Verdict<Tensor> {
        let activations = self.config.activations;
        self.up_as(&array.mapv(|v| round(v, activations)), rounding.unwrap_or(activations))
    }

    /// Requires an error.
    pub(super) fn refuses<T>(&self, what: &str, result: crate::Result<T>) -> Verdict {
        match result {
            Err(_) => Ok(()),
            Ok(_) => Err(Failure::new(format!("an error that refuses {what}"), "a result")),
        }
    }

    /// An array rounded to the activations' type.
    pub(super) fn rounded<D: Dimension>(&self, array: Array<f64, D>) -> Array<f64, D> {
        array.mapv_into(|v| round(v, self.config.activations))
    }
}

/// The failure on an input that is known to fail; nothing when it panics.
fn check_again<T>(check: &impl Fn(&T) -> Verdict, input: &T) -> Option<Failure> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(input).err())).ok().flatten()
}

/// A value as an element type holds it.
pub(super) fn round(value: f64, dtype: DType) -> f64 {
    match dtype {
        DType::F16 => f16::from_f64(value).to_f64(),
        DType::BF16 => bf16::from_f64(value).to_f64(),
        _ => f64::from(value as f32),
    }
}
