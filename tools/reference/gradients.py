"""Loss and gradients of one case by PyTorch's autograd, for the tape of gar-train to agree with.

    gradients.py --model ../../fixtures/tile56 --case relation --answer "A dog." --out ../../gar-train/tests/data/tile56.safetensors

The model is that of `reference.py`, in float32. The answer stands behind the prompt with the stop token at its end; the loss
is the sum of the cross-entropies of its tokens. After the first gradients, five steps of torch.optim.AdamW follow on the
same case (mean loss): gradients clipped to norm 1, one step of warm-up, then transformers' cosine.

| name | is |
|---|---|
| `answer` | i32, the answer's token ids, stop token included |
| `losses` | [6] f32: the sum before the first step, then the sums after each |
| `grad.NAME` | f32: the gradient of a checkpoint tensor before the first step; of a tensor with more than WHOLE entries, evenly spaced ones |
| `after.NAME` | f32: the same entries of the tensor itself after the last step |
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import get_cosine_schedule_with_warmup

from reference import Gar

WHOLE = 256
STEPS = 5
RATE = 1e-3


def named(gar: Gar) -> dict[str, torch.nn.Parameter]:
    """Every weight under its name in a checkpoint."""
    parts = {
        "mllm.model.vision_tower.timm_model.": gar.tower,
        "mllm.model.multi_modal_projector.": gar.projector,
        "mllm.model.language_model.": gar.decoder.model,
    }
    weights = {prefix + name: w for prefix, part in parts.items() for name, w in part.named_parameters()}
    weights["mask_patch_embedding.weight"] = gar.mask_kernel
    if not gar.decoder.config.tie_word_embeddings:
        weights["mllm.lm_head.weight"] = gar.decoder.lm_head.weight
    return weights


def loss_of(gar: Gar, scene, ids: torch.Tensor, answer: int, rule: str) -> torch.Tensor:
    features = gar.projector(gar.encode(scene.pixels, scene.mask))
    replays = {slot: gar.replay(features, scene.grid, box, rule) for slot, box in scene.boxes.items()}
    logits = gar.decoder(inputs_embeds=gar.embed(ids, features, replays)[None]).logits[0]
    return torch.nn.functional.cross_entropy(logits[-answer - 1 : -1], ids[-answer:], reduction="sum")


def probe(tensor: torch.Tensor) -> torch.Tensor:
    flat = tensor.detach().flatten()
    if len(flat) <= WHOLE:
        return flat.clone()
    return flat[torch.from_numpy(np.linspace(0, len(flat) - 1, WHOLE).astype(np.int64))].clone()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--case", required=True)
    parser.add_argument("--answer", required=True)
    parser.add_argument("--rule", default="paper", choices=("paper", "released"))
    parser.add_argument("--out", required=True, type=Path)
    args = parser.parse_args()

    torch.manual_seed(0)
    gar = Gar(args.model)
    case = json.loads((args.model / "cases" / f"{args.case}.json").read_text())
    with torch.no_grad():
        scene = gar.scene(case, args.model.parent)
    stop = gar.tokenizer.convert_tokens_to_ids("<|eot_id|>")
    answer = torch.tensor(gar.tokenizer.encode(args.answer, add_special_tokens=False) + [stop])
    ids = torch.cat([scene.input_ids, answer])

    gar.mask_kernel = torch.nn.Parameter(gar.mask_kernel)
    weights = {name: w.requires_grad_() for name, w in named(gar).items()}
    optimizer = torch.optim.AdamW(weights.values(), lr=RATE, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.01)
    schedule = get_cosine_schedule_with_warmup(optimizer, num_warmup_steps=1, num_training_steps=STEPS)
    losses, tensors = [], {"answer": answer.int()}
    for step in range(STEPS + 1):
        optimizer.zero_grad()
        loss = loss_of(gar, scene, ids, len(answer), args.rule)
        losses.append(loss.item())
        if step == STEPS:
            break
        (loss / (1 if step == 0 else len(answer))).backward()
        if step == 0:
            tensors |= {f"grad.{name}": probe(w.grad) for name, w in weights.items() if w.grad is not None}
            for w in weights.values():
                if w.grad is not None:
                    w.grad /= len(answer)
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimizer.step()
        schedule.step()
    tensors |= {f"after.{name}": probe(w) for name, w in weights.items()}
    tensors["losses"] = torch.tensor(losses)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: t.contiguous() for name, t in tensors.items()}, args.out)
    print(losses, len(answer), len(ids))


if __name__ == "__main__":
    main()
