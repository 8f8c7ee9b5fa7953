//! The rule that reads masks from pictures, and pictures that lie.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::io::Cursor;

use gar_prompt::{Error, Mask};
use image::{DynamicImage, ImageBuffer, ImageFormat, Luma, LumaA, Rgb, Rgba};

fn encode(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Four pixels as written by Pillow: black, dark red, nearly black, black in a palette; and one bit each.
const PALETTE: &[u8] = b"\x89PNG\x0d\x0a\x1a\x0a\x00\x00\x00\x0dIHDR\x00\x00\x00\x04\x00\x00\x00\x01\x02\x03\x00\x00\x00\x84R\xe7^\x00\x00\x00\x0cPLTE\x00\x00\x00\x80\x00\x00\x00\x00\x01\x00\x00\x00\xeb\x00P\xbc\x00\x00\x00\x0aIDATx\x9cc\x90\x00\x00\x00\x1a\x00\x19-\x88\xf46\x00\x00\x00\x00IEND\xaeB`\x82";
const ONE_BIT: &[u8] = b"\x89PNG\x0d\x0a\x1a\x0a\x00\x00\x00\x0dIHDR\x00\x00\x00\x04\x00\x00\x00\x01\x01\x00\x00\x00\x00\xd1G2`\x00\x00\x00\x0aIDATx\x9ccH\x00\x00\x00b\x00a\xb1\x98y\xf2\x00\x00\x00\x00IEND\xaeB`\x82";

/// Which of a row of pixels are set.
fn row(bytes: &[u8]) -> Vec<bool> {
    let mask = Mask::from_picture(bytes).unwrap();
    assert_eq!(mask.height(), 1);
    mask.view().iter().copied().collect()
}

#[test]
fn opaque_lossless_pictures_are_set_where_not_black() {
    let grey = ImageBuffer::from_fn(4, 1, |x, _| Luma([[0_u8, 1, 127, 255][x as usize]]));
    let grey16 = ImageBuffer::from_fn(4, 1, |x, _| Luma([[0_u16, 1, 255, 65535][x as usize]]));
    let colour = ImageBuffer::from_fn(4, 1, |x, _| Rgb([[0_u8; 3], [0, 0, 1], [200, 0, 0], [255; 3]][x as usize]));
    let opaque = ImageBuffer::from_fn(4, 1, |x, _| {
        Rgba([[0_u8, 0, 0, 255], [0, 1, 0, 255], [9, 9, 9, 255], [255; 4]][x as usize])
    });
    let pictures: [DynamicImage; 4] = [grey.into(), grey16.into(), colour.into(), opaque.into()];
    for picture in pictures {
        assert_eq!(row(&encode(picture, ImageFormat::Png)), [false, true, true, true]);
    }
    let grey = ImageBuffer::from_fn(4, 1, |x, _| Luma([[0_u8, 1, 127, 255][x as usize]]));
    for format in [ImageFormat::Bmp, ImageFormat::Tiff] {
        assert_eq!(row(&encode(grey.clone(), format)), [false, true, true, true]);
    }
}

#[test]
fn palettes_and_single_bits_are_read_by_colour() {
    for bytes in [PALETTE, ONE_BIT] {
        assert_eq!(row(bytes), [false, true, true, false]);
    }
}

#[test]
fn transparency_decides_where_there_is_any() {
    let cutout = ImageBuffer::from_fn(4, 1, |x, _| {
        Rgba([[255_u8, 255, 255, 0], [0, 0, 0, 255], [9, 0, 0, 127], [0, 0, 0, 128]][x as usize])
    });
    assert_eq!(row(&encode(cutout, ImageFormat::Png)), [false, true, false, true]);
    let grey = ImageBuffer::from_fn(3, 1, |x, _| LumaA([[255_u8, 0], [0, 255], [0, 128]][x as usize]));
    assert_eq!(row(&encode(grey, ImageFormat::Png)), [false, true, true]);
    let deep =
        ImageBuffer::from_fn(3, 1, |x, _| Rgba([[1_u16, 1, 1, 32767], [0, 0, 0, 32768], [0, 0, 0, 65535]][x as usize]));
    assert_eq!(row(&encode(deep, ImageFormat::Png)), [false, true, true]);
}

#[test]
fn lossy_pictures_are_set_from_half_brightness() {
    let halves = ImageBuffer::from_fn(32, 16, |x, _| Luma([if x < 16 { 20_u8 } else { 235 }]));
    let mask = Mask::from_picture(&encode(halves, ImageFormat::Jpeg)).unwrap();
    assert!(mask.view().indexed_iter().all(|((_, x), &set)| set == (x >= 16)));
}

#[test]
fn truncated_and_lying_pictures_are_refused() {
    let noise = ImageBuffer::from_fn(64, 48, |x, y| Luma([(x * 37 + y * 91) as u8 ^ (x * y) as u8]));
    for format in
        [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Bmp, ImageFormat::Gif, ImageFormat::WebP, ImageFormat::Tiff]
    {
        let picture = match format {
            ImageFormat::Gif | ImageFormat::WebP => DynamicImage::from(noise.clone()).to_rgba8().into(),
            _ => DynamicImage::from(noise.clone()),
        };
        let bytes = encode(picture, format);
        Mask::from_picture(&bytes).unwrap();
        for keep in [0, 1, 8, 20, bytes.len() / 2, bytes.len() * 3 / 4] {
            let error = Mask::from_picture(&bytes[..keep]);
            assert!(
                matches!(error, Err(Error::Picture { .. } | Error::JpegTruncated { .. })),
                "{format:?} cut to {keep} of {}: {error:?}",
                bytes.len()
            );
        }
    }
    assert!(matches!(Mask::from_picture(b"not a picture"), Err(Error::Picture { .. })));
}

#[test]
fn a_header_that_claims_too_much_is_refused_before_memory_is_taken() {
    let mut bytes = encode(ImageBuffer::from_pixel(2, 2, Luma([1_u8])), ImageFormat::Png);
    // Width and height of the IHDR chunk, and its checksum.
    bytes[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
    let crc = crc32(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.to_be_bytes());
    let error = Mask::from_picture(&bytes).unwrap_err();
    assert!(matches!(error, Error::TooLarge { width: 65536, height: 65536, .. } | Error::Picture { .. }), "{error}");
}

#[test]
fn files_are_named_in_errors() {
    let folder = tempfile::tempdir().unwrap();
    let (path, missing) = (folder.path().join("mask.png"), folder.path().join("none.png"));
    std::fs::write(&path, b"\x89PNG\r\n\x1a\n").unwrap();
    assert!(Mask::open_picture(&path).unwrap_err().to_string().contains("mask.png"));
    assert!(matches!(Mask::open_picture(&missing), Err(Error::Read { path, .. }) if path == missing));
    std::fs::write(&path, encode(ImageBuffer::from_pixel(3, 2, Luma([1_u8])), ImageFormat::Png)).unwrap();
    assert_eq!(Mask::open_picture(&path).unwrap().area(), 6);
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |c, _| (c >> 1) ^ (0xedb8_8320 & (c & 1).wrapping_neg()))
    })
}
