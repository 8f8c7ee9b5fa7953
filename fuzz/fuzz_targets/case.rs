//! Case files: any bytes parse or are refused.
#![no_main]
use std::path::Path;

use gar_core::trace::Case;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = Case::from_json(bytes, Path::new("case.json"));
});
