"""The PyTorch peer of `gar describe`: one region of one picture, timed stage by stage. Prints one JSON object.

    describe_pytorch.py --model DIR --image IMAGE --mask MASK [--max-tiles 1] [--new-tokens 32] [--threads 2] [--dtype f32|bf16]

It decodes greedily and passes over stop tokens, so that every run does the same work. Loading converts the weights to
float32, and from there to bf16 where that is asked for; RoI-Align stays in float32. Needs the packages of tools/reference/requirements.txt.
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "reference"))
from reference import DESCRIBE, Gar, encode_mask  # noqa: E402


class Stopwatch:
    """Seconds per stage; a stage ends where the next begins."""

    def __init__(self):
        self.seconds, self.started = {}, time.perf_counter()

    def lap(self, stage: str):
        now = time.perf_counter()
        self.seconds[stage], self.started = now - self.started, now


@torch.inference_mode()
def describe(gar: Gar, case: dict, rule: str, new_tokens: int, watch: Stopwatch) -> tuple[int, list[int]]:
    """The number of tiles, and the answer."""
    scene = gar.scene(case, "/")
    watch.lap("preprocess")
    dtype = gar.mask_kernel.dtype
    features = gar.projector(gar.encode(scene.pixels.to(dtype), scene.mask.to(dtype)))
    watch.lap("vision")
    replays = {slot: gar.replay(features.float(), scene.grid, box, rule).to(dtype) for slot, box in scene.boxes.items()}
    logits, cache = gar.prefill(gar.embed(scene.input_ids, features, replays))
    watch.lap("prefill")
    tokens = [int(logits.argmax())]
    while len(tokens) < new_tokens:
        tokens.append(int(gar.step(tokens[-1], cache).argmax()))
    watch.lap("decode")
    return len(scene.pixels), tokens


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--mask", type=Path, required=True, help="a picture of the image's size, white where the region is")
    parser.add_argument("--max-tiles", type=int, default=1)
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", choices=("f32", "bf16"), default="f32")
    parser.add_argument("--replay", choices=("released", "paper"), default="released")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    watch = Stopwatch()
    gar = Gar(args.model)
    if args.dtype == "bf16":
        for part in (gar.tower, gar.projector, gar.decoder):
            part.bfloat16()
        gar.mask_kernel = gar.mask_kernel.bfloat16()
    watch.lap("load")
    mask = np.array(Image.open(args.mask).convert("L")) >= 128
    case = {
        "image": str(args.image.resolve()),
        "prompts": [min(1, gar.config["prompt_numbers"] - 1)],
        "masks": [encode_mask(mask)],
        "user_text": DESCRIBE,
        "max_num_tiles": args.max_tiles,
    }
    tiles, tokens = describe(gar, case, args.replay, args.new_tokens, watch)
    seconds = watch.seconds
    seconds["decode_per_token"] = seconds["decode"] / max(len(tokens) - 1, 1)
    seconds["total"] = sum(seconds[stage] for stage in ("load", "preprocess", "vision", "prefill", "decode"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"timings": seconds, "tiles": tiles, "peak_rss_bytes": peak, "new_tokens": len(tokens), "tokens": tokens}))


if __name__ == "__main__":
    main()
