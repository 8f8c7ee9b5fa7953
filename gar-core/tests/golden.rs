//! Parity with the released code on photographs: every case below `GAR_GOLDEN`, both box rules.
//!
//! Skipped without that folder. The project's own fixtures make the same comparison in `fixtures.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

#[allow(dead_code)]
mod parity;

use std::path::PathBuf;

#[test]
fn every_case_equals_the_reference() {
    let Some(root) = std::env::var_os("GAR_GOLDEN").map(PathBuf::from) else {
        println!("SKIPPED: GAR_GOLDEN does not name a folder of golden cases");
        return;
    };
    let mut cases = 0;
    for model in ["tiny-l", "tiny-g"] {
        cases += parity::check_checkpoint(&root.join(model), &root);
    }
    assert_eq!(cases, 14, "cases in {}", root.display());
}
