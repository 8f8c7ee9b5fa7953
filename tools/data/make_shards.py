"""Writes JSON Lines of region samples as Arrow shards, with Hugging Face `datasets`, in the released schema.

    python tools/data/make_shards.py SAMPLES.jsonl FOLDER SHARDS

`gar-data`'s tests read FOLDER back and compare it with SAMPLES.jsonl: `GAR_SHARDS` names a folder that holds pairs
`NAME.jsonl` and `NAME/`.
"""

import base64
import json
import sys

from datasets import Dataset, Features, Image, Value


def main(samples: str, folder: str, shards: int) -> None:
    with open(samples, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    for row in rows:
        row["image"] = {"bytes": base64.b64decode(row["image"].removeprefix("data:base64,")), "path": None}
        row["catagory"] = "drawn"  # A column of the release that is not read, spelt as there.
    rle = {"size": [Value("int64")], "counts": Value("string")}
    features = Features(
        {
            "image": Image(),
            "mask_rle": rle if isinstance(rows[0]["mask_rle"], dict) else [rle],
            "conversations": [{"from": Value("string"), "value": Value("string")}],
            "catagory": Value("string"),
        }
    )
    Dataset.from_list(rows, features=features).save_to_disk(folder, num_shards=shards)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
