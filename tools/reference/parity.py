"""Compares what two implementations of GAR compute.

    parity.py traces A.safetensors B.safetensors      two files written by `gar trace` or by reference.py
    parity.py cases --images DIR MODEL [CASE …]       the reference against stored cases (MODEL/cases/*.json by default)

The error of a tensor is its relative L2 error ‖a−b‖/‖b‖; integers must be equal. Exit status 1 when anything is out of
bounds. A stored tensor is whole (`NAME`) or probed: `NAME.index` holds flat positions and `NAME.value` what is there.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from reference import BOX_RULES, Gar


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """‖found−expected‖/‖expected‖; infinite when the shapes differ, and for integers that are not equal."""
    if found.shape != expected.shape or found.is_floating_point() != expected.is_floating_point():
        return float("inf")
    if not expected.is_floating_point():
        return 0.0 if torch.equal(found.long(), expected.long()) else float("inf")
    found, expected = found.double(), expected.double()
    norm = expected.norm().item()
    error = (found - expected).norm().item()
    return error / norm if norm > 0 else error


def stored_names(result: dict, gar: Gar) -> dict[str, torch.Tensor]:
    """A run of the reference under the names that stored cases use."""
    scene = result["scene"]
    tensors = {
        "input_ids": scene.input_ids.int(),
        "pixels.thumb_u8": scene.thumb_u8,
        "pixels": scene.pixels,
        "mask.tokens_on": gar.tokens_on(scene.mask),
        "vision": result["vision"],
        "features": result["features"],
    }
    for rule in BOX_RULES:
        answer = result[rule]
        tensors |= {f"{rule}.{name}": answer[name] for name in ("embeds", "logits", "last_logits")}
        tensors |= {f"{rule}.replay.{slot}": vectors for slot, vectors in answer["replay"].items()}
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def compare_case(gar: Gar, path: Path, images: Path) -> dict[str, float]:
    """Errors per tensor of one stored case; facts of the JSON file count as tensors named after their key."""
    case, stored = json.loads(path.read_text()), load_file(path.with_suffix(".safetensors"))
    result = gar.run(case, images)
    scene, found = result["scene"], stored_names(result, gar)
    errors = {}
    for name in sorted({name.removesuffix(".index").removesuffix(".value") for name in stored}):
        if name in stored:
            errors[name] = relative_error(found[name], stored[name])
        else:
            errors[name] = relative_error(found[name].flatten()[stored[f"{name}.index"].long()], stored[f"{name}.value"])
    facts = {
        "grid": list(scene.grid) == case["grid"],
        "tiles": len(scene.pixels) == case["tiles"],
        "tokens": len(scene.input_ids) == case["tokens"],
        "boxes": {str(slot): box for slot, box in scene.boxes.items()} == case["boxes"],
    }
    for rule in BOX_RULES:
        expected = case["greedy"][rule]
        facts[f"{rule}.greedy"] = (result[rule]["tokens"], result[rule]["text"]) == (expected["tokens"], expected["text"])
        facts[f"{rule}.min_margin"] = abs(result[rule]["min_margin"] - expected["min_margin"]) < 1e-3
    return errors | {name: 0.0 if equal else float("inf") for name, equal in facts.items()}


def compare_traces(left: Path, right: Path) -> dict[str, float]:
    found, expected = load_file(left), load_file(right)
    missing = {name: float("inf") for name in found.keys() ^ expected.keys()}
    return missing | {name: relative_error(found[name], expected[name]) for name in found.keys() & expected.keys()}


def report(title: str, errors: dict[str, float], bound: float, verbose: bool) -> bool:
    bad = {name: error for name, error in errors.items() if not error <= bound}
    worst = max(errors, key=errors.get)
    print(f"{'ok  ' if not bad else 'FAIL'} {title}: {len(errors)} compared, worst {worst} {errors[worst]:.2e}")
    for name, error in sorted((errors if verbose else bad).items()):
        print(f"       {name:24} {error:.2e}")
    return not bad


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    traces = commands.add_parser("traces", help="compare two trace files")
    traces.add_argument("left", type=Path)
    traces.add_argument("right", type=Path)
    traces.add_argument("--bound", type=float, default=5e-4, help="largest relative L2 error (default %(default)s)")
    cases = commands.add_parser("cases", help="compare the reference with stored cases")
    cases.add_argument("--images", type=Path, required=True)
    cases.add_argument("--bound", type=float, default=1e-5, help="largest relative L2 error (default %(default)s)")
    cases.add_argument("model", type=Path)
    cases.add_argument("case", type=Path, nargs="*")
    for command in (traces, cases):
        command.add_argument("--verbose", action="store_true", help="print every tensor's error")
    args = parser.parse_args()

    if args.command == "traces":
        sys.exit(not report(f"{args.left} {args.right}", compare_traces(args.left, args.right), args.bound, args.verbose))
    gar, good = Gar(args.model), True
    paths = args.case or sorted((args.model / "cases").glob("*.json"))
    if not paths:
        sys.exit(f"no cases in {args.model / 'cases'}")
    for path in paths:
        good &= report(f"{args.model.name}/{path.stem}", compare_case(gar, path, args.images), args.bound, args.verbose)
    sys.exit(not good)


if __name__ == "__main__":
    main()
