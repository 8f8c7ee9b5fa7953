//! Checkpoint headers: any file opens or is refused, and its tensors are read or refused.
#![no_main]
use gar_core::kernels::Weights;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let path = std::env::temp_dir().join(format!("gar-fuzz-{}.safetensors", std::process::id()));
    if std::fs::write(&path, bytes).is_ok()
        && let Ok(weights) = Weights::open(&path)
    {
        for info in weights.tensors().collect::<Vec<_>>() {
            let _ = weights.tensor(&info.name, &info.shape);
        }
    }
});
