"""GAR-1B at full size with random weights, in PyTorch on the card, beside what `time_answer` measured; prints Markdown.

    peer_model.py --picture P.png --mask M.png             writes a picture whose grid is 4 × 4 tiles, and one region
    peer_model.py --model gar-1b --ours model.json --tiles 17     times the peer and prints the ratios
    peer_model.py --model fixtures/tile56 --check                 whether this transformers runs all of it, on the CPU

The peer is transformers' PerceptionLM (tower from timm, decoder in SDPA, bf16) on as many tiles and prompt tokens as ours had:
the mask embedding and the replay of a region's features, thousandths of the work, are left out, to the peer's advantage.
Decoding uses a static cache and a compiled step, transformers' own way without launch gaps, and once an eager one.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path


def write_picture(picture: Path, mask: Path):
    import numpy as np
    from PIL import Image

    side = 4 * 448
    y, x = np.mgrid[0:side, 0:side]
    waves = [np.sin(x / 37) * np.cos(y / 53), np.sin((x + y) / 71), np.cos((x - 2 * y) / 97)]
    pixels = np.stack([(w + 1) * 127.5 for w in waves], -1).astype(np.uint8)
    Image.fromarray(pixels).save(picture)
    inside = (x - 900) ** 2 + (y - 700) ** 2 < 300**2
    Image.fromarray((inside * 255).astype(np.uint8)).save(mask)


def build(directory: Path, attention: str, device: str):
    """The architecture of the checkpoint's config, with random weights in bf16."""
    import torch
    from transformers import AutoModelForImageTextToText, PerceptionLMConfig

    config = json.loads((directory / "config.json").read_text())["mllm_config"]
    config = PerceptionLMConfig(**config)
    # transformers' wrapper of timm knows no attention but "eager"; timm itself calls SDPA all the same.
    attention = {"text_config": attention, "vision_config": "eager"}
    with torch.device(device):
        torch.set_default_dtype(torch.bfloat16)
        model = AutoModelForImageTextToText.from_config(config, attn_implementation=attention)
        torch.set_default_dtype(torch.float32)
    return model.to(torch.bfloat16).eval()


def synchronize():
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds(work, repeats=5) -> float:
    times = []
    for _ in range(repeats + 1):
        synchronize()
        started = time.perf_counter()
        work()
        synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def time_peer(directory: Path, tiles: int, prompt_tokens: int, steps: int, device: str = "cuda") -> dict[str, float]:
    """Seconds of each stage. A stage that this version of the libraries refuses is named on stderr and left out."""
    import torch
    from transformers import StaticCache

    model = build(directory, "sdpa", device)
    text = model.config.text_config
    side = model.config.vision_config.model_args["img_size"]
    pixels = torch.rand(1, tiles, 3, *side, device=device, dtype=torch.bfloat16)
    embeds = torch.rand(1, prompt_tokens, text.hidden_size, device=device, dtype=torch.bfloat16)
    found = {}

    def find(stage, work):
        try:
            found[stage] = work()
        except Exception as error:  # The other stages are worth having.
            print(f"{stage}: {type(error).__name__}: {error}", file=sys.stderr)

    with torch.inference_mode():
        find("vision", lambda: seconds(lambda: model.model.get_image_features(pixel_values=pixels)))
        decoder, head = model.model.language_model, model.lm_head

        def prefill():
            cache = StaticCache(config=text, max_cache_len=prompt_tokens + steps + 1)
            hidden = decoder(inputs_embeds=embeds, past_key_values=cache, use_cache=True).last_hidden_state
            return head(hidden[:, -1:]).argmax(-1), cache

        find("prefill", lambda: seconds(prefill))

        def step(token, cache, position):
            hidden = decoder(input_ids=token, past_key_values=cache, cache_position=position, use_cache=True)
            return head(hidden.last_hidden_state).argmax(-1)

        def decode(step):
            token, cache = prefill()
            synchronize()
            started = time.perf_counter()
            for i in range(steps):
                # What a compiled step gives lies in memory that its next run writes.
                torch.compiler.cudagraph_mark_step_begin()
                token = step(token, cache, torch.tensor([prompt_tokens + i], device=device)).clone()
            synchronize()
            return (time.perf_counter() - started) / steps

        find("decode, eager", lambda: min(decode(step) for _ in range(3)))
        if device == "cuda":
            compiled = torch.compile(step, mode="reduce-overhead")
            find("decode, compiled", lambda: min(decode(compiled) for _ in range(4)))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--mask", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--ours", type=Path)
    parser.add_argument("--check", action="store_true", help="run a small model on the CPU, measure nothing")
    parser.add_argument("--tiles", type=int, default=17, help="crops of the picture, the thumbnail among them")
    args = parser.parse_args()
    if args.picture:
        write_picture(args.picture, args.mask)
        return
    if args.check:
        found = time_peer(args.model, tiles=2, prompt_tokens=40, steps=4, device="cpu")
        print("runs: " + ", ".join(found))
        sys.exit(0 if {"vision", "prefill", "decode, eager"} <= found.keys() else 1)
    ours = json.loads(args.ours.read_text())
    tokens = ours["prompt_tokens"]
    per_token = ours["decode"] / max(ours["new_tokens"] - 1, 1)
    theirs = time_peer(args.model, args.tiles, tokens, 128)
    first = ours["preprocess"] + ours["vision"] + ours["prefill"]
    print(f"{args.tiles} crops, {tokens} prompt tokens; {ours['new_tokens']} tokens decoded. Milliseconds.\n")
    print("| | gar | PyTorch | PyTorch / gar |\n|---|---:|---:|---:|")
    if "vision" in theirs and "prefill" in theirs:
        theirs["vision + prefill"] = theirs["vision"] + theirs["prefill"]
    rows = [(stage, ours[stage]) for stage in ("vision", "prefill")]
    rows.append(("vision + prefill", ours["vision"] + ours["prefill"]))
    rows += [(name, per_token) for name in ("decode, eager", "decode, compiled")]
    for name, us in rows:
        them = theirs.get(name)
        beside = "failed | –" if them is None else f"{them * 1e3:.2f} | {them / us:.2f}"
        print(f"| {name} | {us * 1e3:.2f} | {beside} |")
    print(f"\nTime to first token with preprocessing: {first * 1e3:.1f} ms. Decoding: {1 / per_token:.0f} tokens/s.")


if __name__ == "__main__":
    main()
