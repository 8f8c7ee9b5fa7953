//! The end of a tape: one number.
use gar_core::kernels::{Error, Kernels, Result, Tensor};

use super::{Gradients, Tape, host};
use crate::backward::loss;

impl Tape {
    /// Σ weight · term over losses of one entry → `[1]`.
    ///
    /// # Errors
    /// A term of more than one entry.
    pub fn weighted_sum(&self, terms: &[(Tensor, f32)]) -> Result<Tensor> {
        const OP: &str = "weighted_sum";
        let mut sum = 0.0;
        for (term, weight) in terms {
            term.expect_shape(OP, "term", &[1])?;
            sum += f64::from(*weight) * term.to_f32_vec()?.first().copied().map_or(f64::NAN, f64::from);
        }
        let output = Tensor::from_vec(vec![sum as f32], &[1])?;
        let inputs: Vec<Option<&Tensor>> = terms.iter().map(|(term, _)| Some(term)).collect();
        self.note(OP, &inputs, &output, || {
            let terms = terms.to_vec();
            move |_: &Kernels, dy: Vec<f32>, g: &mut Gradients| {
                for (term, weight) in &terms {
                    g.add(term, &[dy[0] * weight]);
                }
                Ok(())
            }
        });
        Ok(output)
    }

    /// The sum over rows of `−ln softmax(logits)[target]`: `logits` [n, V], one target a row → `[1]`.
    ///
    /// Softmax and cross-entropy are one operation: no probabilities are kept but those of the gradient.
    ///
    /// # Errors
    /// Numbers of rows and targets that differ, a target of V or more.
    pub fn cross_entropy(&self, logits: &Tensor, targets: &[u32]) -> Result<Tensor> {
        const OP: &str = "cross_entropy";
        let [_, classes] = logits.dims(OP, "logits")?;
        logits.expect_shape(OP, "logits", &[targets.len(), classes])?;
        if let Some(target) = targets.iter().find(|&&t| t as usize >= classes) {
            let expected = format!("less than {classes}");
            return Err(Error::Value { op: OP, what: "targets", expected, found: target.to_string() });
        }
        let (sum, slope) = loss::cross_entropy(&host(&self.inner, logits)?, classes, targets);
        let output = Tensor::from_vec(vec![sum as f32], &[1])?;
        self.note(OP, &[Some(logits)], &output, || {
            let logits = logits.clone();
            move |_: &Kernels, dy: Vec<f32>, g: &mut Gradients| {
                let mut slope = slope;
                slope.iter_mut().for_each(|s| *s *= dy[0]);
                g.give(&logits, slope);
                Ok(())
            }
        });
        Ok(output)
    }
}
