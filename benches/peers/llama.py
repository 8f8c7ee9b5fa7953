"""The llama.cpp peer of the decoder: reads a prompt and decodes, at the size of a checkpoint. Prints one JSON object.

    llama.py --model DIR --file OUT.gguf [--weights bf16|q8_0] [--prompt 847] [--new-tokens 16] [--threads 2]

The file is made from `--model` where it is not there yet: the decoder's own weights in bf16 or quantised to Q8_0, and a
vocabulary of as many made-up tokens. Needs the PyPI packages llama-cpp-python, gguf, safetensors and torch.
"""

import argparse
import json
import resource
import time
from pathlib import Path

NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write(model: Path, path: Path, weights: str):
    """The decoder of a checkpoint as GGUF. Queries and keys keep the checkpoint's order of rows: the same work, if another
    result."""
    import gguf
    import torch
    from safetensors import safe_open

    config = json.loads((model / "config.json").read_text())["mllm_config"]["text_config"]
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    tokens = [b"<unk>", b"<s>", b"</s>"] + [f"token{i}".encode() for i in range(3, config["vocab_size"])]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([gguf.TokenType.UNKNOWN, *[gguf.TokenType.CONTROL] * 2] + [gguf.TokenType.NORMAL] * (len(tokens) - 3))
    kind = {"bf16": gguf.GGMLQuantizationType.BF16, "q8_0": gguf.GGMLQuantizationType.Q8_0}[weights]
    prefix = "mllm.model.language_model."
    for shard in sorted(model.glob("*.safetensors")):
        with safe_open(str(shard), "pt") as file:
            for name in file.keys():
                if name == "mllm.lm_head.weight":
                    new = "output.weight"
                elif not name.startswith(prefix):
                    continue
                else:
                    parts = name.removeprefix(prefix).removesuffix(".weight").split(".", 2)
                    plain = {"embed_tokens": "token_embd", "norm": "output_norm"}
                    new = plain.get(parts[0]) or f"blk.{parts[1]}.{NAMES[parts[2]]}"
                    new += ".weight"
                tensor = file.get_tensor(name).to(torch.float32).numpy()
                if tensor.ndim == 1:
                    writer.add_tensor(new, tensor)
                else:
                    writer.add_tensor(new, gguf.quants.quantize(tensor, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--weights", choices=("bf16", "q8_0"), default="bf16")
    parser.add_argument("--prompt", type=int, default=847)
    parser.add_argument("--new-tokens", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    if not args.file.exists():
        write(args.model, args.file, args.weights)

    from llama_cpp import Llama

    started = time.perf_counter()
    threads = {"n_threads": args.threads, "n_threads_batch": args.threads}
    llama = Llama(str(args.file), n_ctx=args.prompt + args.new_tokens + 8, n_batch=512, n_ubatch=512, verbose=False, **threads)
    loaded = time.perf_counter()
    llama.eval([3 + i % 1000 for i in range(args.prompt)])
    read = time.perf_counter()
    for i in range(args.new_tokens - 1):
        llama.eval([3 + i])
    done = time.perf_counter()
    timings = {"preprocess": 0.0, "vision": 0.0, "load": loaded - started, "prefill": read - loaded, "decode": done - read}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"timings": timings, "peak_rss_bytes": peak, "tokens": [0] * args.new_tokens}))


if __name__ == "__main__":
    main()
