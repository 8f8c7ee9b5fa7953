"""Runs `gar describe` and its PyTorch float32 peer in turn on the same work; prints medians and ratios as Markdown.

    describe.py --gar target/release/gar --model DIR --image IMAGE --mask MASK [--runs 3] [--new-tokens 32]

Each run is a process of its own, so `load` is paid every time (from the page cache, after one unmeasured run of each) and the
peak memory is the process's own. Decoding is compared per token, since gar ends at a stop token and the peer does not.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
STAGES = ("preprocess", "vision", "prefill", "decode_per_token", "wall", "peak_gib")


def measure(command: list[str], threads: int) -> dict[str, float]:
    """Runs one process: its own stage timings in seconds, wall time in seconds, and peak resident memory in GiB."""
    threads = str(threads)
    environment = os.environ | {"RAYON_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - started
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command)
    answer = json.loads(output)
    timings = answer["timings"]
    decode = timings["decode"] / max(len(answer["tokens"]) - 1, 1)
    stages = {stage: timings[stage] for stage in ("preprocess", "vision", "prefill")}
    if "grid" in answer:  # gar looks once at a thumbnail and its equal, the tile of a grid of one
        grid = answer["grid"][0] * answer["grid"][1]
        stages |= {"tiles": 1 if grid == 1 else grid + 1, "prompt": answer["prompt_tokens"]}
    elif "tiles" in answer:
        stages["tiles"] = answer["tiles"]
    if "tiles" in stages:
        stages["vision_per_tile"] = stages["vision"] / stages["tiles"]
    return stages | {"decode_per_token": decode, "wall": wall, "peak_gib": usage.ru_maxrss / 2**20}


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gar", type=Path, required=True, help="the release binary")
    parser.add_argument("--model", required=True)
    parser.add_argument("--image", required=True)
    parser.add_argument("--mask", required=True)
    parser.add_argument("--max-tiles", type=int, default=1)
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()

    tiles, tokens, threads = str(args.max_tiles), str(args.new_tokens), str(args.threads)
    common = ["--model", args.model, "--mask", args.mask, "--max-tiles", tiles]
    commands = {
        "gar": [str(args.gar.resolve()), "describe", args.image, *common, "--max-new-tokens", tokens, "--json"],
        "PyTorch": [sys.executable, str(HERE / "describe_pytorch.py"), "--image", args.image, *common]
        + ["--new-tokens", tokens, "--threads", threads],
    }
    runs = {name: [] for name in commands}
    for round in range(args.runs + 1):
        for name, command in commands.items():
            try:
                measured = measure(command, args.threads)
            except subprocess.CalledProcessError as failure:
                sys.exit(str(failure))
            if round > 0:  # the first fills the page cache
                runs[name].append(measured)

    commit = subprocess.run(["git", "-C", HERE, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    print(f"{cpu_model()}, {args.threads} threads; {datetime.date.today()}; commit {commit}; median of {args.runs} runs;")
    print(f"at most {tiles} tiles and the thumbnail, {tokens} new tokens. Seconds, and GiB of peak resident memory.\n")
    print("| | gar | PyTorch f32 | gar / PyTorch |\n|---|---:|---:|---:|")
    for stage in STAGES:
        ours, theirs = (statistics.median(run[stage] for run in runs[name]) for name in commands)
        print(f"| {stage} | {ours:.3f} | {theirs:.3f} | {ours / theirs:.2f} |")


if __name__ == "__main__":
    main()
