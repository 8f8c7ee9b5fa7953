"""Runs `gar describe` in every precision and its peers in turn on the same work; prints medians, ratios and rooflines.

    cpu.py --gar target/release/gar --model gar-1b --image IMAGE --mask MASK \
        [--max-tiles 1] [--new-tokens 16] [--runs 3] [--threads 2] [--python PYTHON] [--llama DIR] [--candle BINARY]
        [--only NAME ...] [--within SECONDS]

`--model` is a checkpoint (`gar init --preset gar-1b gar-1b`), `--python` an interpreter with the packages of
tools/reference/requirements.txt (without it the PyTorch columns are left out), `--llama` a folder for GGUF files, which adds
llama.cpp (its packages in the same interpreter), `--candle` the binary that `cargo build --release` in benches/peers/candle
makes; it reads the Q8_0 file of llama.cpp too. Ceilings of the machine are measured here (ceilings.cpp, needs g++), before and
after every run of ours, because a shared machine is not the same from minute to minute: a run is compared with the better of
its two, and the shares are medians. Ceilings are the best of five tries; what the middle try reached before and after a run, on
average, is what was held. Every run is a process of its own; the first of each is a warm-up. With `--within` no further
round begins once so many seconds are over. With `--max-tiles 1` the picture is two equal tiles, of which gar computes one and
PyTorch both, so their vision is compared a tile too; with 16 it is up to 17, which differ.
"""

import argparse
import datetime
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from describe import HERE, cpu_model, measure

STAGES = ("preprocess", "vision", "vision_per_tile", "prefill", "first_token", "decode_per_token", "peak_gib")
# What the issue asks for: stage, ours, peer, at least this many times as fast.
TARGETS = [
    ("vision", "gar bf16", "PyTorch bf16", 1.10),
    ("vision_per_tile", "gar bf16", "PyTorch bf16", 1.10),
    ("prefill", "gar bf16", "PyTorch bf16", 1.15),
    ("prefill", "gar bf16", "llama.cpp bf16", 0.95),
    ("decode_per_token", "gar bf16", "PyTorch bf16", 2.20),
    ("decode_per_token", "gar int8", "gar bf16", 1.70),
    ("decode_per_token", "gar int8", "llama.cpp q8_0", 1.00),
    ("prefill", "gar int8", "gar bf16", 1.30),
    ("first_token", "gar bf16", "PyTorch bf16", 1.15),
    ("vision", "gar f32", "PyTorch f32", 1.00),
    ("vision_per_tile", "gar f32", "PyTorch f32", 1.00),
    ("prefill", "gar f32", "PyTorch f32", 1.00),
    ("prefill", "gar f32", "candle f32", 1.00),
    ("decode_per_token", "gar f32", "candle f32", 1.00),
    ("prefill", "gar int8", "candle q8_0", 1.00),
    ("decode_per_token", "gar int8", "candle q8_0", 1.00),
    ("decode_per_token", "gar f32", "PyTorch f32", 1.00),
]


def ceilings(threads: int, binary: Path) -> dict[str, float]:
    if not binary.exists():
        source = [str(HERE / "ceilings.cpp"), "-o", str(binary)]
        subprocess.run(["g++", "-O3", "-march=native", "-pthread", *source], check=True)
    return json.loads(subprocess.check_output([str(binary), str(threads)]))


def work(model: Path, tiles: int, prompt: int) -> dict[str, float]:
    """Operations of the tower with its projector and of a prompt, and weights that a decoded token reads.

    Of a prompt's last layer only keys and values are wanted, but for the last row.
    """
    config = json.loads((model / "config.json").read_text())["mllm_config"]
    text, vision = config["text_config"], config["vision_config"]
    arguments = vision.get("model_args") or {}
    width, depth = arguments["embed_dim"], arguments["depth"]
    mlp = int(width * arguments.get("mlp_ratio", 4))
    tokens = 1024 + int(config["vision_use_cls_token"])
    block = 2 * tokens * width * (4 * width + 2 * mlp) + 4 * tokens**2 * width
    d, inner, head = text["hidden_size"], text["intermediate_size"], text["head_dim"]
    heads, kv = text["num_attention_heads"], text["num_key_value_heads"]
    projector = 2 * 1024 * (width * d + d * d)
    layer = d * head * (2 * heads + 2 * kv) + 3 * d * inner
    layers = text["num_hidden_layers"]
    return {
        "vision": tiles * (depth * block + 2 * 1024 * 588 * width + projector),
        "prefill": (layers - 1) * (2 * prompt * layer + 2 * prompt**2 * heads * head) + 2 * prompt * d * head * 2 * kv,
        "decode_weights": layers * layer + text["vocab_size"] * d,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gar", type=Path, required=True, help="the release binary")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--image", required=True)
    parser.add_argument("--mask", required=True)
    parser.add_argument("--max-tiles", type=int, default=1)
    parser.add_argument("--new-tokens", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--python")
    parser.add_argument("--llama", type=Path)
    parser.add_argument("--candle", type=Path)
    parser.add_argument("--only", nargs="+", help="columns to run")
    parser.add_argument("--within", type=float, default=float("inf"), help="seconds after which no round begins")
    args = parser.parse_args()

    tiles, tokens, threads = str(args.max_tiles), str(args.new_tokens), str(args.threads)
    common = ["--model", str(args.model), "--mask", args.mask, "--max-tiles", tiles]
    gar = [str(args.gar.resolve()), "describe", args.image, *common, "--max-new-tokens", tokens, "--json", "--threads", threads]
    commands = {
        "gar f32": [*gar, "--precision", "f32"],
        "gar bf16": [*gar, "--precision", "bf16"],
        "gar int8": [*gar, "--precision", "bf16", "--quantize", "int8"],
    }
    prompt = 847 if args.max_tiles == 1 else 847 + 256 * (args.max_tiles - 1)
    if args.python:
        for dtype in ("f32", "bf16"):
            peer = [args.python, str(HERE / "describe_pytorch.py"), "--image", args.image, *common, "--dtype", dtype]
            commands[f"PyTorch {dtype}"] = [*peer, "--new-tokens", tokens, "--threads", threads]
        if args.llama:
            for weights in ("bf16", "q8_0"):
                file = args.llama / f"{args.model.name}-{weights}.gguf"
                peer = [args.python, str(HERE / "llama.py"), "--model", str(args.model), "--file", str(file)]
                peer += ["--weights", weights, "--prompt", str(prompt), "--new-tokens", tokens, "--threads", threads]
                commands[f"llama.cpp {weights}"] = peer
    if args.candle:
        sizes = [str(prompt), tokens]
        commands["candle f32"] = [str(args.candle.resolve()), str(args.model), "f32", *sizes]
        if args.llama:
            commands["candle q8_0"] = [str(args.candle.resolve()), str(args.llama / f"{args.model.name}-q8_0.gguf"), "q8_0", *sizes]
    if args.only:
        commands = {name: commands[name] for name in args.only}

    binary = Path(tempfile.mkdtemp()) / "ceilings"
    runs, limits = {name: [] for name in commands}, {name: [] for name in commands}
    started, left_out = time.monotonic(), []
    for round in range(args.runs + 1):
        if round > 1 and time.monotonic() - started > args.within:
            break
        for name, command in list(commands.items()):
            print(f"run {round} of {args.runs}: {name}", file=sys.stderr)
            ours = name.startswith("gar ")
            before = ceilings(args.threads, binary) if ours else {}
            try:
                measured = measure(command, args.threads)
            except subprocess.CalledProcessError as failure:
                if ours or round > 0:
                    sys.exit(str(failure))
                # Built for another CPU, for one; that need not cost the other columns.
                print(failure, file=sys.stderr)
                left_out.append(f"{name} (status {failure.returncode})")
                for columns in (commands, runs, limits):
                    del columns[name]
                continue
            after = ceilings(args.threads, binary) if ours else {}
            if round > 0:  # the first fills the page cache
                measured["first_token"] = measured["preprocess"] + measured["vision"] + measured["prefill"]
                runs[name].append(measured)
                both = lambda key: (before[key] + after[key]) / 2 if key.endswith("_held") else max(before[key], after[key])
                limits[name].append({key: both(key) for key in before})
    median = {name: {s: statistics.median(run[s] for run in of) for s in STAGES if s in of[0]} for name, of in runs.items()}

    commit = subprocess.run(["git", "-C", HERE, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    done = len(next(iter(runs.values())))
    print(f"{cpu_model()}, {args.threads} threads; {datetime.date.today()}; commit {commit}; median of {done} runs;")
    print(f"at most {tiles} tiles and the thumbnail, {tokens} new tokens. Seconds, and GiB of peak resident memory.\n")
    if left_out:
        print(f"Left out, as they fail: {'; '.join(left_out)}.\n")
    print("| | " + " | ".join(commands) + " |\n|---|" + "---:|" * len(commands))
    for stage in STAGES:
        # Peers of the decoder alone have no picture.
        none = lambda name: name.startswith(("llama.cpp", "candle")) and stage in ("preprocess", "vision", "vision_per_tile", "first_token")
        print(f"| {stage} | " + " | ".join("" if none(name) else f"{median[name][stage]:.3f}" for name in commands) + " |")

    print("\n| | times as fast | wanted |\n|---|---:|---:|")
    for stage, ours, peer, wanted in TARGETS:
        if ours in median and peer in median:
            print(f"| {stage}: {ours} and {peer} | {median[peer][stage] / median[ours][stage]:.2f} | {wanted:.2f} |")

    found = [limit for name in commands for limit in limits[name] if limit]
    if not found:
        return
    ranges = (f"{key} {min(l[key] for l in found):.1f} to {max(l[key] for l in found):.1f}" for key in found[0] if key != "threads")
    print(f"\nCeilings beside the runs: {', '.join(ranges)}\n")
    print("| | achieved | of the ceiling | run by run | of what was held |\n|---|---:|---:|---:|---:|")
    for name in (name for name in commands if name in ("gar f32", "gar bf16", "gar int8")):
        does = work(args.model, runs[name][0]["tiles"], runs[name][0]["prompt"])
        kind = name.removeprefix("gar ")
        # The best that the machine has; without AVX512-BF16 products of bf16 run at the rate of f32.
        rates = (f"amx_{kind}_gflops", f"{kind}_gflops", "f32_gflops")
        products = next(rate for rate in rates if rate in found[0])
        size = 1 if kind == "int8" else 2
        rows = [(stage, does[stage], products, "GFLOP/s") for stage in ("vision", "prefill")]
        rows.append(("decode_per_token", size * does["decode_weights"], "read_gbs", "GB/s of weights"))
        for stage, amount, limit, unit in rows:
            rates = [amount / run[stage] / 1e9 for run in runs[name]]
            shares = [100 * rate / own[limit] for rate, own in zip(rates, limits[name])]
            each = ", ".join(f"{share:.0f}" for share in shares)
            held = statistics.median(100 * rate / own[f"{limit}_held"] for rate, own in zip(rates, limits[name]))
            print(f"| {name}, {stage} | {statistics.median(rates):.0f} {unit} | {statistics.median(shares):.0f} % | {each} | {held:.0f} % |")


if __name__ == "__main__":
    main()
