"""GAR-1B at full size with random weights, in PyTorch on the card, beside what `time_answer` measured; prints Markdown.

    peer_model.py --picture P.png --mask M.png             writes a picture whose grid is 4 × 4 tiles, and one region
    peer_model.py --model gar-1b --ours model.json --tiles 17     times the peer and prints the ratios

The peer is transformers' PerceptionLM (tower from timm, decoder in SDPA, bf16) on as many tiles and prompt tokens as ours had:
the mask embedding and the replay of a region's features, thousandths of the work, are left out, to the peer's advantage.
Decoding uses a static cache and a compiled step, transformers' own way without launch gaps, and once an eager one.
"""

import argparse
import json
import statistics
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


def build(directory: Path, attention: str):
    """The architecture of the checkpoint's config, with random weights in bf16."""
    import torch
    from transformers import AutoModelForImageTextToText, PerceptionLMConfig

    config = json.loads((directory / "config.json").read_text())["mllm_config"]
    config = PerceptionLMConfig(**config)
    # transformers' wrapper of timm knows no attention but "eager"; timm itself calls SDPA all the same.
    attention = {"text_config": attention, "vision_config": "eager"}
    with torch.device("cuda"):
        torch.set_default_dtype(torch.bfloat16)
        model = AutoModelForImageTextToText.from_config(config, attn_implementation=attention)
        torch.set_default_dtype(torch.float32)
    return model.to(torch.bfloat16).eval()


def seconds(work, repeats=5) -> float:
    import torch

    times = []
    for _ in range(repeats + 1):
        torch.cuda.synchronize()
        started = time.perf_counter()
        work()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def time_peer(directory: Path, tiles: int, prompt_tokens: int, steps: int) -> dict[str, float]:
    import torch
    from transformers import StaticCache

    model = build(directory, "sdpa")
    text = model.config.text_config
    pixels = torch.rand(1, tiles, 3, 448, 448, device="cuda", dtype=torch.bfloat16)
    embeds = torch.rand(1, prompt_tokens, text.hidden_size, device="cuda", dtype=torch.bfloat16)
    found = {}
    with torch.inference_mode():
        found["vision"] = seconds(lambda: model.model.get_image_features(pixel_values=pixels))
        decoder, head = model.model.language_model, model.lm_head

        def prefill():
            cache = StaticCache(config=text, max_cache_len=prompt_tokens + steps + 1)
            hidden = decoder(inputs_embeds=embeds, past_key_values=cache, use_cache=True).last_hidden_state
            return head(hidden[:, -1:]).argmax(-1), cache

        found["prefill"] = seconds(prefill)

        def step(token, cache, position):
            hidden = decoder(input_ids=token, past_key_values=cache, cache_position=position, use_cache=True)
            return head(hidden.last_hidden_state).argmax(-1)

        def decode(step):
            token, cache = prefill()
            torch.cuda.synchronize()
            started = time.perf_counter()
            for i in range(steps):
                token = step(token, cache, torch.tensor([prompt_tokens + i], device="cuda"))
            torch.cuda.synchronize()
            return (time.perf_counter() - started) / steps

        found["decode, eager"] = min(decode(step) for _ in range(3))
        compiled = torch.compile(step, mode="reduce-overhead")
        found["decode, compiled"] = min(decode(compiled) for _ in range(4))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--mask", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--ours", type=Path)
    parser.add_argument("--tiles", type=int, default=17, help="crops of the picture, the thumbnail among them")
    args = parser.parse_args()
    if args.picture:
        write_picture(args.picture, args.mask)
        return
    ours = json.loads(args.ours.read_text())
    tokens = ours["prompt_tokens"]
    per_token = ours["decode"] / max(ours["new_tokens"] - 1, 1)
    theirs = time_peer(args.model, args.tiles, tokens, 128)
    first = ours["preprocess"] + ours["vision"] + ours["prefill"]
    print(f"{args.tiles} crops, {tokens} prompt tokens; {ours['new_tokens']} tokens decoded. Milliseconds.\n")
    print("| | gar | PyTorch | PyTorch / gar |\n|---|---:|---:|---:|")
    rows = [(stage, ours[stage], theirs[stage]) for stage in ("vision", "prefill")]
    rows.append(("vision + prefill", ours["vision"] + ours["prefill"], theirs["vision"] + theirs["prefill"]))
    rows += [(name, per_token, theirs[name]) for name in ("decode, eager", "decode, compiled")]
    for name, us, them in rows:
        print(f"| {name} | {us * 1e3:.2f} | {them * 1e3:.2f} | {them / us:.2f} |")
    print(f"\nTime to first token with preprocessing: {first * 1e3:.1f} ms. Decoding: {1 / per_token:.0f} tokens/s.")


if __name__ == "__main__":
    main()
