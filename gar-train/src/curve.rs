//! The loss curve as a picture.
use std::fmt::Write as _;

use crate::{History, trainer::Point};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
/// Left, top, right and bottom margins.
const MARGINS: [f64; 4] = [56.0, 24.0, 16.0, 40.0];

impl History {
    /// The losses as an SVG: every step in grey, a running mean over a fiftieth of the steps in blue, evaluations in
    /// orange. Not finite losses are left out.
    pub fn svg(&self) -> String {
        let finite = |points: &[Point]| points.iter().copied().filter(|p| p.loss.is_finite()).collect::<Vec<_>>();
        let (training, evaluation) = (finite(&self.training), finite(&self.evaluation));
        let smooth = running_mean(&training, (training.len() / 50).max(1));
        let all = || training.iter().chain(&evaluation);
        let top = all().map(|p| p.loss).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
        let last = all().map(|p| p.step).max().unwrap_or(1).max(1);
        let [left, above, right, below] = MARGINS;
        let x = |step: f64| left + step / last as f64 * (WIDTH - left - right);
        let y = |loss: f64| HEIGHT - below - loss / top * (HEIGHT - above - below);
        let line = |points: &[Point]| {
            points.iter().fold(String::new(), |mut text, p| {
                let _ = write!(text, "{:.1},{:.1} ", x(p.step as f64), y(p.loss));
                text
            })
        };
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        for i in 0..=4 {
            let share = f64::from(i) / 4.0;
            let (at, loss, step) = (y(top * share), top * share, last as f64 * share);
            let _ = writeln!(svg, "<path d=\"M{left} {at:.1}H{}\" stroke=\"#ddd\"/>", WIDTH - right);
            let _ =
                writeln!(svg, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{loss:.2}</text>", left - 6.0, at + 4.0);
            let (x, foot) = (x(step), HEIGHT - below + 18.0);
            let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{foot}\" text-anchor=\"middle\">{step:.0}</text>");
        }
        for (points, colour, width) in
            [(&training, "#bbb", 1.0), (&smooth, "#1f6fb4", 2.0), (&evaluation, "#e07b1a", 2.0)]
        {
            let points = line(points);
            let _ = writeln!(
                svg,
                "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"/>"
            );
        }
        let middle = (left + WIDTH - right) / 2.0;
        let _ = writeln!(svg, "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">step</text>", HEIGHT - 6.0);
        let _ = writeln!(svg, "<text x=\"{left}\" y=\"14\">loss in nats a token</text>\n</svg>");
        svg
    }
}

/// Each point the mean of itself and up to `window − 1` before it.
fn running_mean(points: &[Point], window: usize) -> Vec<Point> {
    let mean = |i: usize| {
        let part = &points[(i + 1).saturating_sub(window)..=i];
        Point { step: points[i].step, loss: part.iter().map(|p| p.loss).sum::<f64>() / part.len() as f64 }
    };
    (0..points.len()).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_spans_its_axes() {
        let training = (1..=4).map(|step| Point { step, loss: 4.0 / step as f64 }).collect();
        let evaluation = vec![Point { step: 2, loss: 2.0 }, Point { step: 4, loss: f64::NAN }];
        let svg = History { training, evaluation }.svg();
        assert!(svg.contains("<text x=\"50\" y=\"28.0\" text-anchor=\"end\">4.00</text>"), "{svg}");
        assert!(
            svg.contains("704.0,246.0 ") && !svg.contains("NaN"),
            "the last step at the right, at a quarter: {svg}"
        );
        assert!(History::default().svg().ends_with("</svg>\n"));
    }
}
