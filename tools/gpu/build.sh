#!/usr/bin/env bash
# Builds what `run.sh` needs on a machine with a GPU, and packs it: tools/gpu/gar-gpu.tar.xz. Needs Rust, no GPU and no CUDA.
# With GAR_GOLDEN set, the golden cases travel too.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=tools/gpu/gar-gpu
rm -rf "$out" "$out.tar.xz"
mkdir -p "$out/bin" "$out/peers"

# The paths of the test binaries are in cargo's messages, one JSON object a line.
test_binary() { # package, features, test
  cargo test --release -p "$1" --features "$2" --test "$3" --no-run --message-format=json |
    python3 -c 'import json, sys
found = [m["executable"] for m in map(json.loads, sys.stdin) if m.get("executable") and m["target"]["name"] == sys.argv[1]]
print(found[-1])' "$3"
}
cp "$(test_binary gar-kernels cuda,laws gpu)" "$out/bin/laws"
cp "$(test_binary gar-core cuda cuda)" "$out/bin/golden"
cargo build --release -p gar-cli --features cuda
cargo build --release -p gar-kernels --features cuda --example time_kernels
cargo build --release -p gar-core --features cuda --example time_answer
cp target/release/gar target/release/examples/time_kernels target/release/examples/time_answer "$out/bin/"
strip "$out"/bin/*

cp -r fixtures "$out/fixtures"
if [ -n "${GAR_GOLDEN:-}" ]; then cp -r "$GAR_GOLDEN" "$out/golden"; fi
cp tools/gpu/run.sh tools/gpu/peers.py tools/gpu/peer_model.py "$out/"
git rev-parse --short HEAD > "$out/commit"

tar -C tools/gpu -cJf "$out.tar.xz" gar-gpu
rm -r "$out"
size=$(stat -c %s "$out.tar.xz")
echo "$out.tar.xz: $((size / 1000000)) MB"
[ "$size" -le 60000000 ] || { echo "more than 60 MB" >&2; exit 1; }
