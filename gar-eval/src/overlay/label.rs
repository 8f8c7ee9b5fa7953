//! Names of regions in boxes of their colour.
use gar_core::prompt::{PixelBox, RegionSet, prompt_name};

use super::canvas::{Canvas, Rect, Rgb};
use super::font;

/// Draws the name of each region near its upper left corner, where it hides least of the labels before it.
///
/// `scale` is the side of a pixel of the font.
pub(super) fn draw_all(canvas: &mut Canvas, regions: &RegionSet, colour: impl Fn(usize) -> Rgb, scale: usize) {
    let mut taken: Vec<Rect> = Vec::new();
    for region in regions {
        let Some(bounds) = region.mask().bounds() else { continue };
        let name = region.name().map_or_else(|| prompt_name(region.slot()), str::to_owned);
        let place = place(canvas, bounds, &name, scale, &taken);
        draw(canvas, place, &name, colour(region.slot()), scale);
        taken.push(place);
    }
}

/// Above the region, else inside at its top, else below, else inside at its bottom.
fn place(canvas: &Canvas, bounds: PixelBox, name: &str, scale: usize, taken: &[Rect]) -> Rect {
    let width = font::width(name) * scale + 4 * scale;
    let height = font::HEIGHT * scale + 4 * scale;
    // Clear of the outline's halo.
    let gap = 2 * scale;
    let x = bounds.x_min.min(canvas.width().saturating_sub(width));
    let right = (bounds.x_max + 1).saturating_sub(width).min(canvas.width().saturating_sub(width));
    let lowest = canvas.height().saturating_sub(height);
    let inside = |y: usize| y.min(lowest);
    let above = bounds.y_min.checked_sub(height + gap);
    let below = Some(bounds.y_max + 1 + gap).filter(|&y| y <= lowest);
    let rows =
        [above, Some(inside(bounds.y_min + gap)), below, Some(inside(bounds.y_max.saturating_sub(height + gap)))];
    let candidates = rows.into_iter().flatten().flat_map(|y| [x, right].map(|x| Rect { x, y, width, height }));
    let hidden = |rect: &Rect| taken.iter().map(|other| rect.overlap(other)).sum::<usize>();
    candidates.min_by_key(hidden).unwrap_or(Rect { x, y: inside(bounds.y_min), width, height })
}

/// A box of the region's colour with a thin border and text of whichever of black and white stands out more.
fn draw(canvas: &mut Canvas, rect: Rect, name: &str, colour: Rgb, scale: usize) {
    let ink = if luminance(colour) > 0.18 { [0; 3] } else { [255; 3] };
    let border = scale.div_ceil(2);
    canvas.fill(rect, ink, 0.85);
    let inner = Rect {
        x: rect.x + border,
        y: rect.y + border,
        width: rect.width.saturating_sub(2 * border),
        height: rect.height.saturating_sub(2 * border),
    };
    canvas.fill(inner, colour, 1.0);
    font::pixels(name, |x, y| {
        let pixel = Rect { x: rect.x + (2 + x) * scale, y: rect.y + (2 + y) * scale, width: scale, height: scale };
        canvas.fill(pixel, ink, 1.0);
    });
}

/// Relative luminance of an sRGB colour, 0…1 (WCAG 2). Black and white stand out equally at 0.18.
fn luminance(colour: Rgb) -> f32 {
    let [r, g, b] = colour.map(|sample| (f32::from(sample) / 255.0).powf(2.2));
    0.2126 * r + 0.7152 * g + 0.0722 * b
}
