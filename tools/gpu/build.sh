#!/usr/bin/env bash
# Builds what `run.sh` needs on a machine with a GPU, and packs it: tools/gpu/gar-gpu.tar.xz. Needs Rust, no GPU and no CUDA.
# With GAR_GOLDEN set, the golden cases travel too; where NVRTC is found, kernels compiled for a Hopper.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=tools/gpu/gar-gpu
rm -rf "$out" "$out.tar.xz"
mkdir -p "$out/bin"

# Copies every program that cargo builds for these arguments. Their paths are in its messages, one JSON object a line.
programs() {
  cargo "$@" --release --workspace --all-features --message-format=json | python3 -c '
import json, shutil, sys
for message in map(json.loads, sys.stdin):
    if message.get("executable"):
        shutil.copy(message["executable"], sys.argv[1] + "/" + message["target"]["name"])' "$out/bin"
}
programs build --bin gar
programs build --example time_kernels --example time_answer --example profile_answer --example fill_kernel_cache
programs test --no-run --test gpu --test cuda
mv "$out/bin/gpu" "$out/bin/laws"
mv "$out/bin/cuda" "$out/bin/golden"
strip "$out"/bin/*

"$out/bin/fill_kernel_cache" "$out/kernel-cache" || echo "kernels are compiled on the machine with the card" >&2
cp -r fixtures "$out/fixtures"
cp -r models/gar-mini "$out/gar-mini"
if [ -n "${GAR_GOLDEN:-}" ]; then cp -r "$GAR_GOLDEN" "$out/golden"; fi
cp tools/gpu/run.sh tools/gpu/peers.py tools/gpu/peer_model.py tools/gpu/same_answers.py "$out/"
git rev-parse --short HEAD > "$out/commit"

tar -C tools/gpu -cJf "$out.tar.xz" gar-gpu
rm -r "$out"
size=$(stat -c %s "$out.tar.xz")
echo "$out.tar.xz: $((size / 1000000)) MB"
[ "$size" -le 60000000 ] || { echo "more than 60 MB" >&2; exit 1; }
