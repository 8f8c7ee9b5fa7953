//! The next token: the largest logit, or a draw from a filtered distribution.
use crate::{Error, Result, Tensor};

/// How one row's token is chosen. The filters have the meaning and the order they have in transformers: repetition penalty,
/// temperature, top-k, top-p, min-p, then one draw from what is left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw<'a> {
    /// Divides the logits. 0 takes the largest, of equal ones the first, and looks at no other filter but the penalty.
    pub temperature: f32,
    /// Keeps the `k` largest logits and whatever equals the smallest of them. 0 keeps all.
    pub top_k: usize,
    /// Keeps the smallest set of most probable tokens whose probability reaches this share. 1 keeps all.
    pub top_p: f32,
    /// Keeps tokens at least this fraction as probable as the most probable one. 0 keeps all.
    pub min_p: f32,
    /// Divides positive logits, multiplies negative ones, of every token of `seen`, once. 1 changes nothing.
    pub repetition_penalty: f32,
    /// Tokens that the penalty acts on; those beyond the row are ignored.
    pub seen: &'a [u32],
    /// Where in the distribution the draw falls, in [0, 1): tokens stand in falling order of logit, equal ones by number.
    pub at: f64,
}

/// Chooses a token from each row of logits.
pub trait Sample: Send + Sync {
    /// `logits` [B, V] and B draws → B tokens.
    ///
    /// # Errors
    /// Shapes that do not fit, settings out of range, a row with a NaN or +∞ or without a finite entry, unsupported types or
    /// device.
    fn sample(&self, logits: &Tensor, draws: &[Draw<'_>]) -> Result<Vec<u32>>;
}

impl Draw<'_> {
    /// The largest logit.
    pub const GREEDY: Self =
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, repetition_penalty: 1.0, seen: &[], at: 0.0 };

    /// Checks shapes and settings; gives rows and columns.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Value`] naming what does not fit.
    pub fn check(logits: &Tensor, draws: &[Self]) -> Result<[usize; 2]> {
        const OP: &str = "sample";
        let [rows, columns] = logits.dims(OP, "logits")?;
        if columns == 0 {
            return Err(Error::shape(OP, "logits", "[B, V] with V > 0", logits.shape()));
        }
        if draws.len() != rows {
            return Err(Error::value(OP, "draws", format!("{rows}, one a row"), draws.len()));
        }
        for draw in draws {
            let Self { temperature, top_p, min_p, repetition_penalty, at, .. } = *draw;
            let check = |fits: bool, what, expected: &str, found: f64| match fits {
                true => Ok(()),
                false => Err(Error::value(OP, what, expected, found)),
            };
            let at_least_0 = temperature.is_finite() && temperature >= 0.0;
            check(at_least_0, "temperature", "a finite number, at least 0", temperature.into())?;
            check(top_p > 0.0 && top_p <= 1.0, "top_p", "a number in (0, 1]", top_p.into())?;
            check((0.0..=1.0).contains(&min_p), "min_p", "a number in [0, 1]", min_p.into())?;
            let positive = repetition_penalty.is_finite() && repetition_penalty > 0.0;
            check(positive, "repetition_penalty", "a finite number above 0", repetition_penalty.into())?;
            check((0.0..1.0).contains(&at), "at", "a number in [0, 1)", at)?;
        }
        Ok([rows, columns])
    }

    /// The refusal of a row, by the first entry that is NaN or +∞, or of a row without finite entries.
    pub(crate) fn refuse(row: usize, broken: Option<usize>) -> Error {
        let found = match broken {
            Some(at) => format!("NaN or +∞ at {at} of row {row}"),
            None => format!("no finite entry in row {row}"),
        };
        Error::value("sample", "logits", "finite numbers, or −∞ beside them", found)
    }
}
