//! The overlay: the picture with each region tinted, outlined and named, for people to look at.
mod canvas;
pub(crate) mod font;
mod label;

use gar_core::prompt::{Mask, RegionSet};
use gar_core::vision::Image;
use image::RgbImage;

use self::canvas::Canvas;
pub use self::canvas::Rgb;

/// The colours of Okabe and Ito, which people with any common colour blindness tell apart; each slot has its own.
const PALETTE: [Rgb; 7] = [
    [230, 159, 0],   // orange
    [86, 180, 233],  // sky blue
    [0, 158, 115],   // bluish green
    [204, 121, 167], // reddish purple
    [240, 228, 66],  // yellow
    [213, 94, 0],    // vermilion
    [0, 114, 178],   // blue
];

/// How many colours there are before they repeat.
pub const COLOURS: usize = PALETTE.len();

/// Share of a region's colour in its pixels.
const TINT: f32 = 0.3;

/// Draws all regions over the picture: tints first, then outlines, then labels, so that nothing hides a label.
pub fn draw(image: &Image, regions: &RegionSet) -> RgbImage {
    let mut canvas = Canvas::new(image);
    let short = image.width().min(image.height());
    let line = (short as f32 / 250.0).clamp(2.0, 12.0);
    let halo = (line / 2.0).max(1.0);
    for region in regions {
        tint(&mut canvas, region.mask(), colour(region.slot()));
    }
    for region in regions {
        outline(&mut canvas, region.mask(), colour(region.slot()), line, halo);
    }
    label::draw_all(&mut canvas, regions, colour, font_scale(short));
    canvas.into_picture()
}

/// The colour of a slot.
pub fn colour(slot: usize) -> Rgb {
    PALETTE[slot % PALETTE.len()]
}

/// Pixels of the picture for one of the font: a line of text takes a fortieth to a twentieth of the
/// shorter side, but at least its own seven.
fn font_scale(short: usize) -> usize {
    short.div_ceil(260).clamp(1, 16)
}

fn tint(canvas: &mut Canvas, mask: &Mask, colour: Rgb) {
    for ((y, x), _) in mask.view().indexed_iter().filter(|(_, set)| **set) {
        canvas.blend(x, y, colour, TINT);
    }
}

/// A line of the region's colour along the inside of its border, a white one along the outside: whatever the picture
/// shows there, one of the two stands out.
fn outline(canvas: &mut Canvas, mask: &Mask, colour: Rgb, line: f32, halo: f32) {
    let from_outside = distances(mask, false);
    let from_inside = distances(mask, true);
    let width = mask.width();
    for ((y, x), &set) in mask.view().indexed_iter() {
        let at = y * width + x;
        // The first pixel beyond the border is one away from it; a partly covered one is blended.
        if set {
            canvas.blend(x, y, colour, line + 1.0 - from_outside[at]);
        } else {
            canvas.blend(x, y, [255; 3], 0.9 * (halo + 1.0 - from_inside[at]).clamp(0.0, 1.0));
        }
    }
}

/// For each pixel, row by row, about how far it is to the nearest one that is set or is not; beyond the picture nothing
/// is set. Two sweeps with steps of 1 and √2 (Borgefors 1986); at most 8 % too long.
fn distances(mask: &Mask, to_set: bool) -> Vec<f32> {
    let (width, height) = (mask.width(), mask.height());
    let beyond = if to_set { f32::INFINITY } else { 0.0 };
    let pixels = mask.view();
    let mut found: Vec<f32> = pixels.iter().map(|&set| if set == to_set { 0.0 } else { f32::INFINITY }).collect();
    let diagonal = std::f32::consts::SQRT_2;
    // What a sweep has seen: left, upper left, upper, upper right; the second sweep mirrors it.
    let steps = [(-1_isize, 0_isize, 1.0), (-1, -1, diagonal), (0, -1, 1.0), (1, -1, diagonal)];
    let mut visit = |x: usize, y: usize, sign: isize| {
        let mut best = found[y * width + x];
        for (dx, dy, step) in steps {
            let neighbour = (x.checked_add_signed(sign * dx), y.checked_add_signed(sign * dy));
            let there = match neighbour {
                (Some(nx), Some(ny)) if nx < width && ny < height => found[ny * width + nx],
                _ => beyond,
            };
            best = best.min(there + step);
        }
        found[y * width + x] = best;
    };
    for y in 0..height {
        (0..width).for_each(|x| visit(x, y, 1));
    }
    for y in (0..height).rev() {
        (0..width).rev().for_each(|x| visit(x, y, -1));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_from_the_border() {
        let mask = Mask::from_box(7, 5, [1.0, 1.0, 6.0, 4.0]).unwrap();
        let inside = distances(&mask, false);
        let outside = distances(&mask, true);
        assert_eq!(inside[2 * 7 + 3], 2.0);
        assert_eq!(inside[7 + 1], 1.0);
        assert_eq!(outside[0], std::f32::consts::SQRT_2);
        assert_eq!(outside[2 * 7], 1.0);
        let all = Mask::from_box(3, 3, [0.0, 0.0, 3.0, 3.0]).unwrap();
        assert_eq!(
            distances(&all, false),
            [1.0, 1.0, 1.0, 1.0, 2.0, 1.0, 1.0, 1.0, 1.0],
            "beyond the picture is outside"
        );
    }

    #[test]
    fn pictures_of_any_size_are_drawn() {
        for (width, height) in [(1, 1), (2, 40), (300, 3), (64, 64)] {
            let grey = grey(width, height);
            let all = Mask::from_box(width, height, [0.0, 0.0, width as f64, height as f64]).unwrap();
            let regions = RegionSet::numbered([all.clone(), all]).unwrap();
            let drawn = draw(&grey, &regions);
            assert_eq!((drawn.width() as usize, drawn.height() as usize), (width, height));
            assert!(drawn.pixels().any(|p| p.0 != [128; 3]));
        }
    }

    #[test]
    fn pixels_away_from_regions_are_kept() {
        let mask = Mask::from_box(200, 200, [100.0, 100.0, 150.0, 150.0]).unwrap();
        let drawn = draw(&grey(200, 200), &RegionSet::single(mask).unwrap());
        assert_eq!(drawn.get_pixel(10, 190).0, [128; 3]);
        assert_ne!(drawn.get_pixel(125, 125).0, [128; 3], "tinted");
        assert_eq!(drawn.get_pixel(100, 125).0, colour(1), "outlined");
    }

    fn grey(width: usize, height: usize) -> Image {
        let picture = RgbImage::from_pixel(width as u32, height as u32, image::Rgb([128; 3]));
        let mut png = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut png, image::ImageFormat::Png).unwrap();
        Image::decode(png.get_ref(), &gar_core::vision::DecodeLimits::default()).unwrap()
    }
}
