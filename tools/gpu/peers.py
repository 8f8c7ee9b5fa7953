"""Sets each timing of `time_kernels` beside PyTorch's for the same operation on the same card; prints Markdown.

    peers.py kernels.jsonl

Both sides run over a ring of inputs larger than the second-level cache, in CUDA graphs, five turns at a time, and the fastest of
ten timings counts.
"""

import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision
from torch.nn.attention import SDPBackend, sdpa_kernel

RING = 256 << 20
TIMINGS, TURNS = 10, 5


def tensor(*shape, dtype=torch.bfloat16):
    return torch.rand(shape, device="cuda", dtype=torch.float32).mul_(2).sub_(1).to(dtype)


def ring(*shape, dtype=torch.bfloat16):
    bytes_each = torch.Size(shape).numel() * dtype.itemsize
    return [tensor(*shape, dtype=dtype) for _ in range(max(2, min(48, RING // max(bytes_each, 1))))]


def microseconds(call, inputs) -> float:
    """Of one call, over a turn of the ring in one graph."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for item in inputs[:2]:
            call(item)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for item in inputs:
            call(item)
    graph.replay()
    best = float("inf")
    for _ in range(TIMINGS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(TURNS):
            graph.replay()
        end.record()
        torch.cuda.synchronize()
        best = min(best, start.elapsed_time(end))
    return best * 1e3 / TURNS / len(inputs)


def attention_peers(p):
    b, l, h, g, d = (p[name] for name in "blhgd")
    # SDPA takes heads before tokens; its tensors are made that way, so that no peer pays for a transposition.
    q, k, v = ring(b, h, l, d), tensor(b, g, l, d), tensor(b, g, l, d)
    peers = {}
    for name, backend in (("flash", SDPBackend.FLASH_ATTENTION), ("cuDNN", SDPBackend.CUDNN_ATTENTION)):
        def call(q, backend=backend):
            with sdpa_kernel(backend):
                return F.scaled_dot_product_attention(q, k, v, is_causal=p["causal"], enable_gqa=h != g)
        try:
            peers[name] = microseconds(call, q)
        except RuntimeError as error:
            print(f"<!-- {name} refuses {p}: {str(error).splitlines()[0]} -->")
    return peers


def decode_peers(p):
    b, l, h, g, d = (p[name] for name in "blhgd")
    q = tensor(b, h, 1, d)
    caches = [(tensor(b, g, l + 1, d), tensor(b, g, l + 1, d)) for _ in range(16)]
    call = lambda kv: F.scaled_dot_product_attention(q, kv[0], kv[1], enable_gqa=True)  # noqa: E731
    return {"SDPA": microseconds(call, caches)}


def roi_align_peers(p):
    n, c = p["n"], p["c"]
    boxes = torch.tensor([[0, i, 2 * i, 30 + i, 20 + 2 * i] for i in range(n)], device="cuda", dtype=torch.float32)
    peers = {}
    # torchvision has no kernel for bf16; half precision moves as many bytes.
    dtype = torch.float32 if p["dtype"] == "f32" else torch.float16
    for name, format in (("NCHW", torch.contiguous_format), ("channels last", torch.channels_last)):
        maps = [m.contiguous(memory_format=format) for m in ring(1, c, p["h"], p["w"], dtype=dtype)]
        call = lambda m: torchvision.ops.roi_align(m, boxes.to(dtype), (16, 16), 1.0, 2, True)  # noqa: E731
        peers[f"torchvision {name}"] = microseconds(call, maps)
    return peers


def matmul_peers(p):
    m, n, k = p["m"], p["n"], p["k"]
    if m == 1:
        x = tensor(m, k)
        return {"F.linear": microseconds(lambda w: F.linear(x, w), ring(n, k))}
    w, bias = tensor(n, k), tensor(n)
    if p["gelu"]:
        return {"linear + gelu": microseconds(lambda x: F.gelu(F.linear(x, w, bias)), ring(m, k))}
    return {"F.linear": microseconds(lambda x: F.linear(x, w), ring(m, k))}


def rowwise_peers(p):
    rows, width, op = p["rows"], p["width"], p["op"]
    x = ring(rows, width)
    weight = tensor(width)
    index = torch.arange(rows - 1, -1, -1, device="cuda")
    calls = {
        "layer_norm": lambda x: F.layer_norm(x, (width,), weight, weight, 1e-5),
        "rms_norm": lambda x: F.rms_norm(x, (width,), weight, 1e-5),
        "gelu": F.gelu,
        "swiglu": lambda x: F.silu(x) * x,
        "gather": lambda x: x[index],
        "argmax": lambda x: x.argmax(-1),
        "sample_greedy": lambda x: x.argmax(-1),
        "pool": lambda x: F.avg_pool2d(x.view(17, 32, 32, width).permute(0, 3, 1, 2), 2),
    }
    return {"PyTorch": microseconds(calls[op], x)} if op in calls else {}


PEERS = {"attention": attention_peers, "decode": decode_peers, "roi_align": roi_align_peers, "matmul": matmul_peers}


def rate(p, us: float) -> str:
    """TFLOP/s where arithmetic is the bound, TB/s where memory is."""
    if p["op"] == "attention":
        flops = 4 * p["b"] * p["h"] * p["l"] ** 2 * p["d"] / (2 if p["causal"] else 1)
        return f"{flops / us / 1e6:.0f} TFLOP/s"
    if p["op"] == "matmul" and p["m"] > 16:
        return f"{2 * p['m'] * p['n'] * p['k'] / us / 1e6:.0f} TFLOP/s"
    moved = {
        "copy": lambda: 2 * p["bytes"],
        "matmul": lambda: 2 * p["n"] * p["k"],
        "decode": lambda: 4 * p["b"] * p["l"] * p["g"] * p["d"],
    }.get(p["op"])
    return f"{moved() / us / 1e6:.2f} TB/s" if moved else ""


def main():
    print("| operation | gar, µs | rate | peer | peer, µs | peer / gar |\n|---|---:|---:|---|---:|---:|")
    for line in Path(sys.argv[1]).read_text().splitlines():
        p = json.loads(line)
        name = " ".join(f"{k}={v}" if k != "op" else str(v) for k, v in p.items() if k != "us")
        if p["op"] in ("copy", "layer"):
            peers = {}
        else:
            peers = PEERS.get(p["op"], rowwise_peers)(p)
        torch.cuda.empty_cache()
        ours = f"| {name} | {p['us']:.2f} | {rate(p, p['us'])} "
        for peer, us in peers.items() or [("none", None)]:
            theirs = f"{us:.2f} | {us / p['us']:.2f}" if us else "|"
            print(f"{ours}| {peer} | {theirs} |")


if __name__ == "__main__":
    main()
