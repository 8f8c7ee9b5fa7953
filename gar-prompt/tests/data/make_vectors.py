"""Writes masks.json: masks in run lengths, polygons and boxes as pycocotools and numpy read them.

    pip install pycocotools numpy
    python make_vectors.py > masks.json

`masks`: [h, w, compressed string, run lengths, area, inclusive box x0,y0,x1,y1 or null]
`polygons`: [h, w, [polygon, ...], compressed string of the union]
"""

import json
import random
import sys

import numpy as np
from pycocotools import mask as coco

SEED, MASKS, POLYGONS = 7, 60, 160


def string(pixels):
    return coco.encode(np.asfortranarray(pixels.astype(np.uint8)))["counts"].decode()


def runs(pixels):
    flat = pixels.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return [0, *lengths] if flat.size and flat[0] else lengths


def box(pixels):
    ys, xs = np.nonzero(pixels)
    return [int(xs.min()), int(ys.min()), int(xs.max()), int(ys.max())] if xs.size else None


def a_mask(rng, i):
    h, w = rng.choice([1, 2, 3, 7, 16, 33, 120]), rng.choice([1, 2, 5, 16, 31, 90])
    grid = np.zeros((h, w), bool)
    if i % 4 == 0:
        grid[:] = i % 8 == 0
    elif i % 4 == 1 and h * w < 600:
        grid = np.random.default_rng(i).random((h, w)) < rng.choice([0.03, 0.5, 0.97])
    else:
        for _ in range(rng.randint(1, 3)):
            y, x = rng.randrange(h), rng.randrange(w)
            grid[y : y + rng.randint(1, h), x : x + rng.randint(1, w)] ^= True
    return grid


def a_coordinate(rng, size, kind):
    reach = {"inside": (0, size), "around": (-0.6 * size, 1.6 * size), "far": (-4000, 4000)}[kind]
    value = rng.uniform(*reach)
    return rng.choice([round(value), round(value * 2) / 2, round(value * 10) / 10, round(value, 3)])


def some_polygons(rng, h, w):
    kind = rng.choice(["inside", "inside", "around", "around", "far"])
    polygons = []
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        points = [[a_coordinate(rng, w, kind), a_coordinate(rng, h, kind)] for _ in range(rng.choice([3, 3, 4, 5, 9]))]
        if rng.random() < 0.3:
            points.append(points[0])
        if rng.random() < 0.2:
            points.insert(1, points[0])
        if rng.random() < 0.3:
            points[1][0] = points[0][0]
        polygons.append([float(v) for p in points for v in p])
    return polygons


def main():
    rng = random.Random(int(sys.argv[1]) if len(sys.argv) > 1 else SEED)
    scale = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    masks = []
    for i in range(MASKS * scale):
        grid = a_mask(rng, i)
        masks.append([*grid.shape, string(grid), runs(grid), int(grid.sum()), box(grid)])
    masks.append([0, 0, string(np.zeros((0, 0))), [0], 0, None])
    polygons = []
    for _ in range(POLYGONS * scale):
        h, w = rng.choice([1, 5, 12, 40, 64]), rng.choice([1, 6, 13, 40, 75])
        shape = some_polygons(rng, h, w)
        union = coco.decode(coco.merge(coco.frPyObjects(shape, h, w))).astype(bool)
        polygons.append([h, w, shape, string(union)])
    rows = lambda items: ",\n".join(json.dumps(item, separators=(",", ":")) for item in items)
    print(f'{{"masks":[\n{rows(masks)}\n],\n"polygons":[\n{rows(polygons)}\n]}}')


main()
