//! COCO run lengths: any text decodes or is refused, and what decodes survives a round trip.
#![no_main]
use gar_core::prompt::Rle;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(rle) = Rle::from_json(text)
        && rle.size[0].saturating_mul(rle.size[1]) < 1 << 20
        && let Ok(mask) = rle.to_mask()
    {
        assert_eq!(Rle::encode(&mask).to_mask().ok(), Some(mask));
    }
});
