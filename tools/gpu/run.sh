#!/usr/bin/env bash
# Runs on a machine with an NVIDIA GPU and Python with PyTorch, torchvision, timm and transformers; needs neither Rust nor a network.
# Unpack what build.sh packed, and: ./run.sh [laws] [golden] [answers] [kernels] [model] [sanitize]   (all of them by default)
# A part that fails does not keep the next from running; the exit status is 1 where one did.
#
# The libraries of CUDA 13 are those that came with PyTorch; other places are named by LD_LIBRARY_PATH.
set -euo pipefail
cd "$(dirname "$0")"
libraries=$(python3 -c 'import nvidia.cu13 as m; print(list(m.__path__)[0] + "/lib")')
# The driver's own folder must be found; the toolkit's stubs must not.
export LD_LIBRARY_PATH="$libraries:/usr/local/nvidia/lib64${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export GAR_REQUIRE_GPU=1 GAR_FIXTURES="$PWD/fixtures" GAR_KERNEL_CACHE="$PWD/kernel-cache"
if [ -d golden ]; then export GAR_GOLDEN="$PWD/golden"; fi
results=results && mkdir -p "$results"

header() {
  date -u +%F
  echo "commit $(cat commit)"
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
  python3 -c 'import torch, torchvision; print("torch", torch.__version__, "torchvision", torchvision.__version__)'
}

laws() { # every operation, by the property suites
  bin/laws --nocapture 2>&1 | tee "$results/laws.txt"
}

golden() { # the whole model, by reference results and beside the CPU
  bin/golden --nocapture on_a_card 2>&1 | tee "$results/golden.txt"
}

answers() { # a trained model's answers on both devices
  for device in cpu cuda:0; do
    bin/gar describe fixtures/photo/chelsea.png --mask fixtures/photo/head.png --model gar-mini --device "$device"
    bin/gar eval mini --model gar-mini --device "$device" --seed 4 --questions 900 --quiet --out "answers-${device%:0}"
  done | tee "$results/answers.txt"
  python3 same_answers.py answers-cpu answers-cuda | tee -a "$results/answers.txt"
}

kernels() { # each kernel beside PyTorch's, on the same card in the same run
  bin/time_kernels > "$results/kernels.jsonl"
  python3 peers.py "$results/kernels.jsonl" | tee "$results/kernels.md"
}

model() { # GAR-1B at full size with random weights: 17 crops, one region
  [ -d gar-1b ] || bin/gar init --preset gar-1b gar-1b
  python3 peer_model.py --picture picture.png --mask mask.png
  bin/time_answer gar-1b picture.png mask.png cuda:0 256 16 > "$results/model.json"
  bin/profile_answer gar-1b picture.png mask.png 1 16 > "$results/profile.md"
  python3 peer_model.py --model gar-1b --ours "$results/model.json" --tiles 17 | tee "$results/model.md"
}

sanitize() { # bad accesses and races
  # Few cases: the tools slow kernels down by orders of magnitude.
  for tool in memcheck racecheck; do
    GAR_LAW_CASES=2 compute-sanitizer --tool "$tool" --error-exitcode 9 \
      bin/laws --nocapture the_laws_hold attention_for_hopper 2>&1 | tee "$results/$tool.txt"
  done
}

header | tee "$results/machine.txt"
if [ $# -eq 0 ]; then set -- laws golden answers kernels model sanitize; fi
failed=()
for part in "$@"; do
  started=$SECONDS
  # A child of its own, not part of a condition: there `set -e` would not hold.
  set +e
  (set -e; "$part")
  status=$?
  set -e
  echo "== $part: status $status after $((SECONDS - started)) s"
  [ "$status" -eq 0 ] || failed+=("$part")
done
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}" >&2; exit 1; }
