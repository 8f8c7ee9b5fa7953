//! The two histograms of Fig. 6, from rectangles and lines of text alone: so that SVG and PNG are the same drawing.
use std::fmt::Write;

use image::{Rgb, RgbImage};

use super::Stats;
use crate::overlay::font;

const WIDTH: usize = 960;
const HEIGHT: usize = 400;

const INK: [u8; 3] = [40, 44, 52];
const SOFT: [u8; 3] = [120, 126, 136];
const LINE: [u8; 3] = [222, 226, 232];
/// Blue and vermilion of Okabe and Ito.
const BLUE: [u8; 3] = [0, 114, 178];
const RED: [u8; 3] = [213, 94, 0];

/// A thing that is drawn; places in pixels from the top left.
enum Shape {
    Rect {
        x: f64,
        y: f64,
        width: f64,
        height: f64,
        colour: [u8; 3],
    },
    /// `anchor` is the share of the text that lies left of `x`; `y` is its middle.
    Text {
        x: f64,
        y: f64,
        anchor: f64,
        text: String,
        colour: [u8; 3],
        scale: usize,
    },
}

/// The drawing as an SVG document.
pub fn svg(stats: &Stats) -> String {
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
    );
    let hex = |[r, g, b]: [u8; 3]| format!("#{r:02x}{g:02x}{b:02x}");
    for shape in shapes(stats) {
        // Writing to a string cannot fail.
        let _ = match shape {
            Shape::Rect { x, y, width, height, colour } => writeln!(
                text,
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{}\"/>",
                hex(colour)
            ),
            Shape::Text { x, y, anchor, text: words, colour, scale } => writeln!(
                text,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{}\" text-anchor=\"{}\" dominant-baseline=\"central\" \
                 fill=\"{}\">{}</text>",
                6 + 6 * scale,
                ["start", "middle", "end"][(2.0 * anchor) as usize % 3],
                hex(colour),
                words.replace('&', "&amp;").replace('<', "&lt;")
            ),
        };
    }
    text + "</svg>\n"
}

/// The drawing as pixels, at twice the SVG's size.
pub fn png(stats: &Stats) -> RgbImage {
    const TIMES: f64 = 2.0;
    let mut picture = RgbImage::from_pixel(2 * WIDTH as u32, 2 * HEIGHT as u32, Rgb([255; 3]));
    let mut fill = |x: f64, y: f64, width: f64, height: f64, colour: [u8; 3]| {
        // A rectangle is never thinner than a pixel.
        let span = |from: f64, length: f64| {
            (from.round() as u32)..((from + length).round() as u32).max(from.round() as u32 + 1)
        };
        for y in span(y, height) {
            for x in span(x, width) {
                if let Some(pixel) = picture.get_pixel_mut_checked(x, y) {
                    *pixel = Rgb(colour);
                }
            }
        }
    };
    for shape in shapes(stats) {
        match shape {
            Shape::Rect { x, y, width, height, colour } => {
                fill(TIMES * x, TIMES * y, TIMES * width, TIMES * height, colour);
            }
            Shape::Text { x, y, anchor, text, colour, scale } => {
                let side = (scale + 1) as f64;
                let left = TIMES * x - anchor * side * font::width(&text) as f64;
                let top = TIMES * y - side * font::HEIGHT as f64 / 2.0;
                font::pixels(&text, |px, py| {
                    fill((left + side * px as f64).round(), (top + side * py as f64).round(), side, side, colour);
                });
            }
        }
    }
    picture
}

/// A labelled bar.
struct Bar {
    label: String,
    count: usize,
}

fn shapes(stats: &Stats) -> Vec<Shape> {
    let most = stats.prompts.keys().next_back().copied().unwrap_or(1);
    let prompts: Vec<Bar> =
        (1..=most).map(|n| Bar { label: n.to_string(), count: stats.prompts.get(&n).copied().unwrap_or(0) }).collect();
    let mut all = panel(20.0, "Prompts per question", "prompts", &prompts, BLUE);
    let title = format!("Mask area per question (mean {:.3} %)", stats.area_per_question.mean);
    all.extend(panel(490.0, &title, "% of the picture", &area_bars(&stats.area_per_question.values), RED));
    all
}

/// Areas span four orders of magnitude: bins double from 1/16 % on.
fn area_bars(values: &[f64]) -> Vec<Bar> {
    let edges = ["1/16", "1/8", "1/4", "1/2", "1", "2", "4", "8", "16", "32", "100"];
    let upper = |bin: usize| if bin == edges.len() - 1 { f64::INFINITY } else { 2f64.powi(bin as i32 - 4) };
    let count = |bin: usize| {
        let lower = if bin == 0 { f64::NEG_INFINITY } else { upper(bin - 1) };
        values.iter().filter(|&&value| lower < value && value <= upper(bin)).count()
    };
    edges.iter().enumerate().map(|(bin, edge)| Bar { label: format!("<={edge}"), count: count(bin) }).collect()
}

/// One histogram, 450 pixels wide from `left` on.
fn panel(left: f64, title: &str, axis: &str, bars: &[Bar], colour: [u8; 3]) -> Vec<Shape> {
    let (width, top, bottom) = (450.0, 70.0, 335.0);
    let text =
        |x, y, anchor, text: &str, colour, scale| Shape::Text { x, y, anchor, text: text.to_owned(), colour, scale };
    let mut all = vec![text(left, 30.0, 0.0, title, INK, 2)];
    let most = bars.iter().map(|bar| bar.count).max().unwrap_or(0).max(1) as f64;
    for quarter in 0..=4 {
        let y = bottom - (bottom - top) * f64::from(quarter) / 4.0;
        all.push(Shape::Rect { x: left, y, width, height: 1.0, colour: LINE });
    }
    let step = width / bars.len().max(1) as f64;
    for (place, Bar { label, count }) in bars.iter().enumerate() {
        let (x, height) = (left + step * place as f64, (bottom - top) * *count as f64 / most);
        if *count > 0 {
            all.push(Shape::Rect { x: x + 0.12 * step, y: bottom - height, width: 0.76 * step, height, colour });
            all.push(text(x + step / 2.0, bottom - height - 10.0, 0.5, &count.to_string(), INK, 1));
        }
        all.push(text(x + step / 2.0, bottom + 16.0, 0.5, label, SOFT, 1));
    }
    all.push(text(left + width / 2.0, bottom + 42.0, 0.5, axis, SOFT, 1));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_area_has_one_bin() {
        let values = [0.0, 0.01, 0.0625, 0.07, 1.0, 1.01, 32.0, 33.0, 100.0];
        let bars = area_bars(&values);
        let counts: Vec<usize> = bars.iter().map(|bar| bar.count).collect();
        assert_eq!(counts, [3, 1, 0, 0, 1, 1, 0, 0, 0, 1, 2]);
        assert_eq!(bars[4].label, "<=1");
    }
}
