"""How many answers of two runs of `gar eval mini --out` are the same; exit status 1 where fewer than 95 in 100 are.

    same_answers.py DIR DIR

Answers are letters or sentences that a trained model writes. In bf16 its weights and every tensor are rounded to 8 bits, which
decides some close calls another way; a wrong kernel changes most answers.
"""

import json
import sys
from pathlib import Path

ENOUGH = 0.95


def answers(directory: Path) -> dict[tuple, str]:
    found = {}
    for log in sorted(directory.glob("*/answers.jsonl")):
        for line in log.read_text().splitlines():
            entry = json.loads(line)
            found[log.parent.name, entry["id"]] = entry["answer"]
    return found


def main():
    first, second = (answers(Path(directory)) for directory in sys.argv[1:3])
    if not first or first.keys() != second.keys():
        sys.exit(f"different questions: {len(first)} and {len(second)}")
    same = sum(first[item] == second[item] for item in first)
    print(f"{same} of {len(first)} answers are the same")
    sys.exit(0 if same >= ENOUGH * len(first) else 1)


if __name__ == "__main__":
    main()
