"""Trains the four architectures of Table 8 on the same drawn scenes and prints their mini GAR-Bench as Markdown.

    ablation.py --gar target/release/gar --out ablation [--seeds 3] [--questions 1800] [--encodings local replay …]

Mirrors and screens have clear panes (`gar scene --clear-panes`): what is a reflection shows in what is around it alone, as with
most of GAR-Bench's.

As the paper's models begin with one trained tower, so do these: a tower as gar-mini's, which has seen whole pictures, then
single objects enlarged. Behind it every model of a seed has the same fresh decoder and the same scenes of one or two regions;
only `region_encoding` differs. For `--alone` steps the tower gets used to its encoding, for `--steps` the decoder learns behind
it. What is done already is not done again, so an interrupted ablation goes on. Means over seeds stand with 95 % intervals
(Student's t).
"""

import argparse
import datetime
import json
import math
import platform
import shutil
import statistics
import subprocess
import time
from pathlib import Path

MODEL = Path(__file__).resolve().parents[2] / "models" / "gar-mini"
ENCODINGS = ("local", "local_cross_attention", "global_local", "replay")
# Two-sided 97.5 % quantiles of Student's t by degrees of freedom.
QUANTILES = {1: 12.71, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


# A run of the tower alone, with a probe of each region's features.
ALONE = """\
[run]
steps = {steps}
batch = 8
at_once = 8
freeze = ["decoder"]
[run.scenes]
kinds = {kinds}
regions = {regions}
clear_percent = {clear_percent}
questions = 1
[run.probes]
weight = 1.0
alone = {steps}
states = false
[run.optimizer]
lr = {lr}
betas = [0.9, 0.98]
warmup = {warmup}
hold = {hold}
"""
# How a tower gets used to an encoding.
OWN = {"kinds": [37, 35, 28], "regions": [0, 1, 0, 0, 0], "clear_percent": 100, "lr": "1e-3", "warmup": 0.1, "hold": 0.5}
# As gar-mini's first run, but with tinted panes alone; then the same tower on crops of single regions.
TOWER = {
    "whole": ("replay", 'model = "model"\nout = "whole"\nfresh = 1\nseed = 1\n[scenes]\n'
              + ALONE.format(steps=16000, kinds=[45, 25, 30], regions=[5, 5, 10, 20, 60], clear_percent=0, lr="2e-3",
                             warmup=0.0125, hold=0.6)),
    "crops": ("local", 'model = "whole/model"\nout = "crops"\nseed = 2\n[scenes]\n'
              + ALONE.format(steps=1000, **OWN)),
}
RIVAL = """\
model = "model"
fresh = {seed}
tower = "../tower/crops/model"
out = "run"
seed = {seed}
[scenes]
kinds = [37, 35, 28]
regions = [1, 2, 0, 0, 0]
clear_percent = 100
questions = 10
choice_percent = 75
again = ["ordering", "ordering", "relation", "mirror"]
{alone}
[[then]]
steps = {steps}
batch = 8
at_once = 8
weigh = "conversations"
[then.probes]
weight = 1.0
behind = {{ slots = 2, names = 3, stated = 3, asked = 5, options = 6 }}
[then.optimizer]
lr = 1.5e-3
betas = [0.9, 0.98]
warmup = 0.1
hold = 0.5
"""


def prepare(model: Path, encoding: str) -> None:
    """Writes gar-mini's directory without weights, for one encoding; weights that are there stay."""
    model.mkdir(parents=True, exist_ok=True)
    for file in MODEL.iterdir():
        if file.suffix in (".json", ".jinja"):
            shutil.copy(file, model)
    config = json.loads((MODEL / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"region_encoding": encoding}, indent=1))


def tower(gar: str, folder: Path) -> None:
    """Trains the tower that all begin with, where that has not been done."""
    for name, (encoding, recipe) in TOWER.items():
        if (folder / name / "model" / "model.safetensors").exists():
            continue
        path = folder / f"{name}.toml"
        prepare(folder / ("model" if name == "whole" else "whole/model"), encoding)
        path.write_text(recipe)
        subprocess.run([gar, "train", path], check=True)


def run(gar: str, folder: Path, encoding: str, seed: int, options: argparse.Namespace) -> dict:
    """Trains and judges one model, or reads what was found out before."""
    result = folder / "result.json"
    if result.exists():
        return json.loads(result.read_text())
    prepare(folder / "model", encoding)
    recipe = folder / "train.toml"
    alone = ALONE.format(steps=options.alone, **OWN)
    recipe.write_text(RIVAL.format(seed=seed, steps=options.steps, alone=alone))
    started = time.perf_counter()
    subprocess.run([gar, "train", recipe], check=True)
    seconds = time.perf_counter() - started
    model = folder / "run" / "run-2" / "model"
    command = [gar, "eval", "mini", "--model", model, "--regions", "2", "--clear-panes", "--questions", str(options.questions)]
    judged = subprocess.run([*command, "--json"], check=True, stdout=subprocess.PIPE, text=True).stdout
    found = {"scores": json.loads(judged), "seconds": seconds}
    result.write_text(json.dumps(found, indent=1))
    return found


def interval(values: list[float]) -> str:
    """Mean and half width of its 95 % interval."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return f"{mean:.1f}"
    half = QUANTILES[len(values) - 1] * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean:.1f} ± {half:.1f}"


def rows(scores: dict) -> dict[str, float]:
    """Per cent right by category, and in all."""
    by_name = {name: row["score"] for name, row in scores["categories"].items()}
    return by_name | {"overall": scores["overall"]["score"]}


def table(columns: dict[str, dict[str, str]]) -> None:
    """Prints columns of cells by row."""
    print("| | " + " | ".join(columns) + " |")
    print("|---|" + "---:|" * len(columns))
    for name in next(iter(columns.values())):
        print(f"| {name} | " + " | ".join(column[name] for column in columns.values()) + " |")
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gar", default="gar", help="the program")
    parser.add_argument("--out", type=Path, required=True, help="folder for models and results")
    parser.add_argument("--alone", type=int, default=600, help="steps in which the tower gets used to its encoding")
    parser.add_argument("--steps", type=int, default=1900, help="steps with the decoder behind them")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--questions", type=int, default=1800)
    parser.add_argument("--encodings", nargs="+", default=list(ENCODINGS), choices=ENCODINGS)
    options = parser.parse_args()
    tower(options.gar, options.out / "tower")
    found: dict[str, list[dict]] = {encoding: [] for encoding in options.encodings}
    # Seeds outside: after each round every encoding has been tried equally often.
    for seed in range(1, options.seeds + 1):
        for encoding in options.encodings:
            folder = options.out / f"{encoding}-{seed}"
            found[encoding].append(run(options.gar, folder, encoding, seed, options))
    print(f"{datetime.date.today()}, {platform.machine()}, {options.alone} steps of the tower alone, {options.steps} with the decoder, ", end="")
    print(f"{options.seeds} seeds, {options.questions} held-out questions\n")
    scores = {encoding: [rows(one["scores"]) for one in results] for encoding, results in found.items()}
    names = list(next(iter(scores.values()))[0])
    columns = {encoding: {name: interval([one[name] for one in each]) for name in names} for encoding, each in scores.items()}
    for encoding, each in found.items():
        minutes = statistics.fmean(one["seconds"] for one in each) / 60
        columns[encoding]["minutes of training"] = f"{minutes:.1f}"
    table(columns)
    if "replay" in scores:
        # Models of a seed saw the same scenes, so what differs between them is known better than either.
        ahead = {
            f"replay − {rival}": {name: interval([a[name] - b[name] for a, b in zip(scores["replay"], scores[rival])]) for name in names}
            for rival in scores if rival != "replay"
        }
        table(ahead)


if __name__ == "__main__":
    main()
