//! Parity with the released code on the project's own fixtures: other tile, patch and pooling sizes, other element types,
//! shards, every case under both box rules.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

#[allow(dead_code)]
mod parity;

use std::path::Path;

#[test]
fn every_fixture_equals_the_reference() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
    for model in ["tile42", "tile48", "tile56", "tile64"] {
        let cases = parity::check_checkpoint(&root.join(model), &root);
        assert!(cases >= 2, "{model}: {cases} cases");
    }
}
