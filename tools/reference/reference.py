"""GAR's forward pass, written out with public packages only.

The parts come from torch, torchvision, timm and transformers; this file joins them. It computes one case in float32 on
the CPU and keeps every intermediate, so that another implementation can be compared stage by stage.

    reference.py --model DIR --case CASE.json --images DIR --replay released|paper [--steps 24] --out T.safetensors

A case is a JSON file with `image` (a path below --images), `masks` (COCO RLE, one a region), `prompts` (their slots) and
`user_text` (the question). `max_num_tiles` is optional and overrides the checkpoint's.

Symbols: T tiles, S tile size, p patch size, r pooling ratio, n = S/p patches a side, m = n/r tokens a side, C tower width,
D decoder width, L sequence length, V vocabulary.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torchvision.ops import roi_align
from torchvision.transforms.functional import pil_to_tensor
from transformers import LlamaConfig, LlamaForCausalLM, PerceptionLMImageProcessorFast, PreTrainedTokenizerFast
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.models.perception_lm.modeling_perception_lm import PerceptionLMMultiModalProjector

DESCRIBE = "Describe this masked region in detail."
BOX_RULES = ("released", "paper")


# ---------------------------------------------------------------------------------------------------------------- masks


def rle_counts(text: str) -> list[int]:
    """Run lengths of a compressed COCO RLE string: 5 bits a character, differences to the run two before."""
    counts, value, shift = [], 0, 0
    for character in text.encode("ascii"):
        bits = character - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value, shift = 0, 0
    return counts


def rle_text(counts: list[int]) -> str:
    """The compressed string of run lengths; the inverse of `rle_counts`."""
    text = ""
    for index, count in enumerate(counts):
        value, more = (count - counts[index - 2] if index > 2 else count), True
        while more:
            bits = value & 0x1F
            value >>= 5
            more = value != (-1 if bits & 0x10 else 0)
            text += chr((bits | 0x20 if more else bits) + 48)
    return text


def decode_mask(rle: dict) -> np.ndarray:
    """A COCO RLE (compressed or a list of counts) as a boolean mask [H, W]. Runs go down the columns and start unset."""
    height, width = rle["size"]
    counts = rle["counts"] if isinstance(rle["counts"], list) else rle_counts(rle["counts"])
    runs = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    if runs.size != height * width:
        raise ValueError(f"RLE covers {runs.size} pixels, expected {height}x{width} = {height * width}")
    return runs.reshape(width, height).T


def encode_mask(mask: np.ndarray) -> dict:
    """A boolean mask [H, W] as a compressed COCO RLE; the inverse of `decode_mask`."""
    flat = np.concatenate([[False], mask.T.reshape(-1).astype(bool)])
    edges = np.flatnonzero(np.diff(flat))
    counts = np.diff(np.concatenate([[0], edges, [flat.size - 1]])).tolist()
    return {"size": list(mask.shape), "counts": rle_text(counts)}


def mask_box(mask: np.ndarray) -> list[float]:
    """x_min/W, y_min/H, x_max/W, y_max/H over the set pixels; the maxima are inclusive."""
    height, width = mask.shape
    ys, xs = np.nonzero(mask)
    return [int(xs.min()) / width, int(ys.min()) / height, int(xs.max()) / width, int(ys.max()) / height]


def label_map(masks: dict[int, np.ndarray], empty: int) -> torch.Tensor:
    """[1, H, W] u8: the slot of the first mask that covers a pixel, else `empty`."""
    labels = np.full(next(iter(masks.values())).shape, empty, dtype=np.uint8)
    for slot, mask in reversed(masks.items()):
        labels[mask] = slot
    return torch.from_numpy(labels)[None]


# ----------------------------------------------------------------------------------------------------------------- text


def user_turn(prompts: list[int], crop_tokens: list[str], crop_copies: int, user_text: str) -> str:
    """The text of the user's turn. `crop_tokens` is the token of every slot; each stands `crop_copies` times."""
    names = [f"<Prompt{slot}>" for slot in prompts]
    crops = [f"{name}: {crop_tokens[slot] * crop_copies}" for name, slot in zip(names, prompts)]
    intro = "There are some objects I am curious about: "
    if len(prompts) == 1 and user_text == DESCRIBE:
        return f"{intro}{names[0]};\n{crops[0]}{user_text}"
    return intro + "".join(f"{name}; " for name in names) + "\n" + "".join(f"{crop}\n" for crop in crops) + "\n" + user_text


# ---------------------------------------------------------------------------------------------------------------- model


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint, one file or shards, as float32."""
    index = folder / "model.safetensors.index.json"
    shards = sorted(set(json.loads(index.read_text())["weight_map"].values())) if index.exists() else ["model.safetensors"]
    weights = {}
    for shard in shards:
        part = load_file(folder / shard)
        while part:  # one tensor at a time, so that a shard never stands in memory twice
            name, tensor = part.popitem()
            weights[name] = tensor.float()
    return weights


def take(weights: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Removes the tensors below `prefix` and returns them under their shorter names."""
    names = [name for name in weights if name.startswith(prefix)]
    return {name.removeprefix(prefix): weights.pop(name) for name in names}


@dataclass
class Scene:
    """What one case gives the model."""

    input_ids: torch.Tensor  # [L]
    grid: tuple[int, int]  # tiles across, tiles down
    thumb_u8: torch.Tensor  # [3, S, S]
    pixels: torch.Tensor  # [T, 3, S, S]
    mask: torch.Tensor  # [T, S, S], 1 where a region covers the pixel
    boxes: dict[int, list[float]]  # slot -> normalised box


class Gar:
    """A GAR checkpoint in the released layout, in float32 on the CPU."""

    def __init__(self, folder: str | Path):
        folder = Path(folder)
        config = json.loads((folder / "config.json").read_text())
        mllm, self.config = config["mllm_config"], config
        self.image_token = mllm["image_token_id"]
        self.crop_tokens = config["crop_tokens_ids"]
        self.has_class_token = mllm["vision_use_cls_token"]
        eos = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
        self.eos = set(eos if isinstance(eos, list) else [eos])

        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        self.processor = PerceptionLMImageProcessorFast.from_pretrained(folder)
        self.max_num_tiles = self.processor.max_num_tiles
        self.tile = self.processor.tile_size
        self.patch = config["kernel_size"][0]
        self.pool = mllm["projector_pooling_ratio"]
        self.side = self.tile // (self.patch * self.pool)

        weights = read_weights(folder)
        self.mask_kernel = weights.pop("mask_patch_embedding.weight")
        self.tower = build_tower(mllm["vision_config"], take(weights, "mllm.model.vision_tower.timm_model."))
        self.projector = build_projector(mllm, take(weights, "mllm.model.multi_modal_projector."))
        decoder = {f"model.{k}": v for k, v in take(weights, "mllm.model.language_model.").items()}
        self.decoder = build_decoder(mllm["text_config"], decoder | take(weights, "mllm.lm_head."))
        if weights:
            raise ValueError(f"unknown tensors in {folder}: {sorted(weights)}")

    # -- from a picture, masks and a question to the model's input

    def grid(self, width: int, height: int, max_num_tiles: int) -> tuple[int, int]:
        """Tiles across and down for a picture of that size."""
        if max_num_tiles <= 1:
            return 1, 1
        self.processor.max_num_tiles = max_num_tiles
        fitted = self.processor._fit_image_to_canvas(width, height, self.tile)
        return fitted or self.processor._find_closest_aspect_ratio(width, height, self.tile)

    def tiles(self, plane: torch.Tensor, max_num_tiles: int) -> torch.Tensor:
        """`plane` [c, H, W] u8 -> [T, c, S, S] u8: the thumbnail, then the tiles of the canvas, row-major. Bicubic."""
        self.processor.max_num_tiles = max_num_tiles
        thumb, _ = self.processor.resize(plane[None], self.tile, 1)
        canvas, (across, down) = self.processor.resize(plane[None], self.tile, max_num_tiles)
        return torch.cat([thumb, self.processor._split(canvas, across, down)[0]])

    def binary_mask(self, masks: dict[int, np.ndarray], max_num_tiles: int) -> torch.Tensor:
        """[T, S, S], 1 where a region covers the pixel.

        The label map takes the picture's own bicubic resize, and whatever comes out below the empty label is covered. So
        the width of a region's rim depends on its slot and on the number of slots; a nearest resize would not.
        """
        empty = self.config["prompt_numbers"]
        return (self.tiles(label_map(masks, empty), max_num_tiles)[:, 0] < empty).float()

    def scene(self, case: dict, images: str | Path) -> Scene:
        max_num_tiles = case.get("max_num_tiles") or self.max_num_tiles
        picture = pil_to_tensor(Image.open(Path(images) / case["image"]).convert("RGB"))
        height, width = picture.shape[1:]
        masks = {slot: decode_mask(rle) for slot, rle in zip(case["prompts"], case["masks"], strict=True)}
        for slot, mask in masks.items():
            if mask.shape != (height, width):
                raise ValueError(f"mask of slot {slot}: expected {(height, width)} like the image, found {mask.shape}")
        tiles = self.tiles(picture, max_num_tiles)
        return Scene(
            input_ids=self.tokenize(case["prompts"], case["user_text"], len(tiles)),
            grid=self.grid(width, height, max_num_tiles),
            thumb_u8=tiles[0],
            pixels=self.processor(picture, max_num_tiles=max_num_tiles, return_tensors="pt")["pixel_values"][0],
            mask=self.binary_mask(masks, max_num_tiles),
            boxes={slot: mask_box(mask) for slot, mask in masks.items()},
        )

    def tokenize(self, prompts: list[int], user_text: str, tiles: int) -> torch.Tensor:
        crops = self.tokenizer.convert_ids_to_tokens(self.crop_tokens)
        content = [{"type": "image"}, {"type": "text", "text": user_turn(prompts, crops, self.side**2, user_text)}]
        chat = [{"role": "user", "content": content}]
        text = self.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        image = self.tokenizer.convert_ids_to_tokens(self.image_token)
        text = text.replace(image, image * (self.side**2 * tiles))
        return torch.tensor(self.tokenizer.encode(text, add_special_tokens=False))

    # -- from the input to the decoder's embeddings

    def tokens_on(self, mask: torch.Tensor) -> torch.Tensor:
        """Set pixels per patch, [T, n, n]; 255 stands for every larger count."""
        patches = mask.unfold(1, self.patch, self.patch).unfold(2, self.patch, self.patch)
        return patches.sum((-1, -2)).clamp(max=255).to(torch.uint8)

    def encode(self, pixels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Tower output [T, n*n, C]: the embedded mask is added to the patch embeddings, before class token and positions."""
        planes = mask[:, None].expand(-1, 3, -1, -1)
        prompt = torch.nn.functional.conv2d(planes, self.mask_kernel, stride=self.patch).flatten(2).transpose(1, 2)
        hook = self.tower.patch_embed.register_forward_hook(lambda module, inputs, patches: patches + prompt)
        try:
            hidden = self.tower.forward_features(pixels)
        finally:
            hook.remove()
        return hidden[:, 1:] if self.has_class_token else hidden

    def replay(self, features: torch.Tensor, grid: tuple[int, int], box: list[float], rule: str) -> torch.Tensor:
        """A region's vectors [m*m, D], RoI-aligned from the tiles put back into one map (the thumbnail left out).

        "paper": the box in feature cells. "released": those coordinates once more divided by p*r, as the published
        weights were trained.
        """
        across, down = grid
        tiles = features[1:].view(down, across, self.side, self.side, -1)
        whole = tiles.permute(4, 0, 2, 1, 3).reshape(1, -1, down * self.side, across * self.side)
        cells = torch.tensor(box) * torch.tensor([across, down, across, down]) * self.side
        scale = 1 / (self.patch * self.pool) if rule == "released" else 1.0
        aligned = roi_align(whole, [cells[None]], self.side, spatial_scale=scale, sampling_ratio=2, aligned=True)
        return aligned[0].flatten(1).T.contiguous()

    def embed(self, ids: torch.Tensor, features: torch.Tensor, replays: dict[int, torch.Tensor]) -> torch.Tensor:
        """[L, D]: token embeddings, with features at the image tokens and each region's replay at its crop tokens."""
        embeds = self.decoder.get_input_embeddings()(ids).clone()
        embeds[ids == self.image_token] = features.flatten(0, 1)
        for slot, replay in replays.items():
            embeds[ids == self.crop_tokens[slot]] = replay
        return embeds

    # -- from the embeddings to text

    def prefill(self, embeds: torch.Tensor):
        """Logits [V] after the last position, and the cache."""
        out = self.decoder(inputs_embeds=embeds[None], use_cache=True, logits_to_keep=1)
        return out.logits[0, -1], out.past_key_values

    def step(self, token: int, cache) -> torch.Tensor:
        """Feeds one token; logits [V] after it. `cache` grows in place."""
        return self.decoder(torch.tensor([[token]]), past_key_values=cache, use_cache=True).logits[0, -1]

    def greedy(self, logits: torch.Tensor, cache, steps: int) -> tuple[list[int], float, torch.Tensor]:
        """At most `steps` tokens, the smallest margin between the two best logits, and the last logits computed.

        A stop token ends the answer: it is kept, but not fed, so the last logits are then those that chose it.
        """
        tokens, margin = [], float("inf")
        while len(tokens) < steps:
            best = logits.topk(2)
            margin = min(margin, (best.values[0] - best.values[1]).item())
            tokens.append(int(best.indices[0]))
            if tokens[-1] in self.eos:
                break
            logits = self.step(tokens[-1], cache)
        return tokens, margin, logits

    @torch.inference_mode()
    def run(self, case: dict, images: str | Path, rules=BOX_RULES, steps: int = 24) -> dict:
        """Everything about one case: the scene, `vision`, `features` and, per box rule, what follows from it."""
        scene = self.scene(case, images)
        vision = self.encode(scene.pixels, scene.mask)
        features = self.projector(vision)
        result = {"scene": scene, "vision": vision, "features": features}
        for rule in rules:
            replays = {slot: self.replay(features, scene.grid, box, rule) for slot, box in scene.boxes.items()}
            embeds = self.embed(scene.input_ids, features, replays)
            logits, cache = self.prefill(embeds)
            tokens, margin, last_logits = self.greedy(logits, cache, steps)
            result[rule] = {
                "replay": replays,
                "embeds": embeds,
                "logits": logits,
                "tokens": tokens,
                "min_margin": margin,
                "text": self.tokenizer.decode(tokens, skip_special_tokens=True),
                "last_logits": last_logits,
            }
        return result


def build_tower(config: dict, weights: dict[str, torch.Tensor]) -> torch.nn.Module:
    tower = timm.create_model(config["architecture"], num_classes=0, **config["model_args"])
    tower.load_state_dict(weights, assign=True)
    return tower.eval()


def build_projector(config: dict, weights: dict[str, torch.Tensor]) -> torch.nn.Module:
    shape = SimpleNamespace(
        vision_config=SimpleNamespace(model_args=config["vision_config"]["model_args"]),
        text_config=SimpleNamespace(hidden_size=config["text_config"]["hidden_size"]),
        projector_pooling_ratio=config["projector_pooling_ratio"],
    )
    projector = PerceptionLMMultiModalProjector(shape)
    projector.load_state_dict(weights, assign=True)
    return projector.eval()


def build_decoder(config: dict, weights: dict[str, torch.Tensor]) -> LlamaForCausalLM:
    """`weights` as in a Llama checkpoint; `lm_head.weight` is absent when the head is tied."""
    config = LlamaConfig(**config)
    if "weight" in weights:
        weights["lm_head.weight"] = weights.pop("weight")
    elif config.tie_word_embeddings:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    with torch.device("meta"):  # no time and memory for weights that are replaced at once
        decoder = LlamaForCausalLM(config)
    decoder.load_state_dict(weights, assign=True)
    decoder.tie_weights()
    decoder.model.rotary_emb = LlamaRotaryEmbedding(config)
    return decoder.eval()


def trace(gar: Gar, result: dict, rule: str) -> dict[str, torch.Tensor]:
    """The tensors of one run under the names that `gar trace` uses."""
    scene, answer = result["scene"], result[rule]
    tensors = {
        "input_ids": scene.input_ids.int(),
        "thumb_u8": scene.thumb_u8,
        "pixels": scene.pixels,
        "mask.tokens_on": gar.tokens_on(scene.mask),
        "vision": result["vision"],
        "features": result["features"],
        "embeds": answer["embeds"],
        "logits": answer["logits"],
        "greedy": torch.tensor(answer["tokens"], dtype=torch.int32),
        "last_logits": answer["last_logits"],
    }
    tensors |= {f"replay.{slot}": vectors for slot, vectors in answer["replay"].items()}
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, type=Path, help="checkpoint directory")
    parser.add_argument("--case", required=True, type=Path, help="case file")
    parser.add_argument("--images", required=True, type=Path, help="folder that the case's image path starts from")
    parser.add_argument("--replay", choices=BOX_RULES, default="released", help="box rule")
    parser.add_argument("--steps", type=int, default=24, help="most tokens to generate")
    parser.add_argument("--out", required=True, type=Path, help="safetensors file to write")
    args = parser.parse_args()

    gar = Gar(args.model)
    result = gar.run(json.loads(args.case.read_text()), args.images, (args.replay,), args.steps)
    save_file(trace(gar, result, args.replay), args.out)
    print(json.dumps({key: result[args.replay][key] for key in ("tokens", "min_margin", "text")}))


if __name__ == "__main__":
    main()
