//! Polygons: any coordinates rasterise or are refused.
#![no_main]
use gar_core::prompt::Mask;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let coordinates: Vec<f64> =
        bytes.chunks_exact(8).map(|b| f64::from_le_bytes(std::array::from_fn(|i| b[i]))).collect();
    let _ = Mask::from_polygons(37, 23, &[coordinates]);
});
