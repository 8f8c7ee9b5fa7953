//! Cross-entropy of logits and its gradient.
use rayon::prelude::*;

/// `logits` [n, V], one target a row below V → the sum of −ln softmax(row)[target], in f64, and its gradient [n, V].
pub(crate) fn cross_entropy(logits: &[f32], classes: usize, targets: &[u32]) -> (f64, Vec<f32>) {
    let mut slope = logits.to_vec();
    let losses: Vec<f64> = slope
        .par_chunks_exact_mut(classes.max(1))
        .zip(targets)
        .map(|(row, &target)| {
            let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let chosen = f64::from(row[target as usize] - top);
            let exp = |x: &mut f32| {
                let e = f64::from(*x - top).exp();
                *x = e as f32;
                e
            };
            let sum: f64 = row.iter_mut().map(exp).sum();
            let (loss, inverse) = (sum.ln() - chosen, (1.0 / sum) as f32);
            row.iter_mut().for_each(|x| *x *= inverse);
            row[target as usize] -= 1.0;
            loss
        })
        .collect();
    (losses.iter().sum(), slope)
}
