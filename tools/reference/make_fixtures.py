"""Makes the checkpoints and cases of `fixtures/`: random weights, drawn pictures, and what the reference computes.

    make_fixtures.py --out ../../fixtures [MODEL …]

The checkpoints are tiny, in the released layout, and differ in everything a configuration can state: tile size, patch size,
pooling, class token, tied head, slots, weight type, shards, rotary scaling. The script refuses to write a case whose
greedy tokens hang on a margin below 0.01.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import timm
import tokenizers
import torch
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, decoders, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM

from parity import stored_names
from reference import BOX_RULES, DESCRIBE, Gar, encode_mask

PROBES = 256  # positions kept of a tensor with more than WHOLE values
WHOLE = 1536
STEPS = 24
LEAST_MARGIN = 0.01

# ------------------------------------------------------------------------------------------------------------- pictures


def shade(width: int, height: int) -> np.ndarray:
    """A smooth, nowhere constant background [H, W, 3] u8."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    waves = [np.sin(x / 9 + y / 23), np.cos(x / 31 - y / 7), np.sin((x + y) / 13)]
    return np.stack([128 + 70 * wave for wave in waves], axis=-1).astype(np.uint8)


def disc(size, x, y, radius) -> np.ndarray:
    rows, columns = np.mgrid[0 : size[1], 0 : size[0]]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def rectangle(size, left, top, right, bottom) -> np.ndarray:
    mask = np.zeros((size[1], size[0]), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def triangle(size, *corners) -> np.ndarray:
    picture = Image.new("1", size)
    ImageDraw.Draw(picture).polygon(corners, fill=1)
    return np.array(picture)


SHAPES, PORTRAIT, TINY, PANORAMA = (150, 100), (31, 117), (5, 4), (201, 24)
DISC = disc(SHAPES, 45, 40, 24)
BOX = rectangle(SHAPES, 90, 20, 131, 66)
WEDGE = triangle(SHAPES, (30, 90), (70, 25), (112, 84))


def pictures() -> dict[str, Image.Image]:
    shapes = shade(*SHAPES)
    for mask, colour in ((WEDGE, (40, 160, 90)), (DISC, (220, 60, 50)), (BOX, (60, 80, 210))):
        shapes[mask] = (shapes[mask] // 3 + np.array(colour) * 2 // 3).astype(np.uint8)
    return {
        "shapes.png": Image.fromarray(shapes),
        "portrait.png": Image.fromarray(shade(*PORTRAIT)[..., 0]),  # one channel
        "tiny.png": Image.fromarray(shade(TINY[0] * 40, TINY[1] * 40)[::40, ::40].copy()),
        "panorama.png": Image.fromarray(shade(*PANORAMA)).quantize(64),  # a palette
    }


# ---------------------------------------------------------------------------------------------------------------- cases

# name: picture, its masks, and the question, in which {i} is the name of region i
CASES = {
    "describe": ("shapes.png", [DISC], DESCRIBE),
    "relation": ("shapes.png", [DISC, BOX], "What is {0} doing to {1}?"),
    "overlap": (
        "shapes.png",
        [WEDGE, DISC, BOX],
        "Question: Which one is in front?\nOptions:\nA. {0}\nB. {1}\nC. {2}\nAnswer with the correct option's letter directly.",
    ),
    "one_pixel": ("portrait.png", [rectangle(PORTRAIT, 30, 116, 31, 117)], "Is {0} a reflection?"),
    "portrait": ("portrait.png", [rectangle(PORTRAIT, 4, 60, 27, 101)], DESCRIBE),
    "tiny": ("tiny.png", [rectangle(TINY, 0, 0, *TINY)], DESCRIBE),
    "redundant": ("panorama.png", [disc(PANORAMA, 40, 12, 9), rectangle(PANORAMA, 120, 3, 171, 20)], "What colour is {1}?"),
}

# --------------------------------------------------------------------------------------------------------------- models

MODELS = {
    # 4x4 patches, 2x2 tokens a tile; follows GAR-1B: class token, tied head, scaled rotary frequencies
    "tile56": dict(
        seed=1,
        dtype=torch.float32,
        shards=1,
        slots=3,
        tile=56,
        max_num_tiles=4,
        pool=2,
        stop=["<|end_of_text|>", "<|eot_id|>"],
        tower=dict(architecture="vit_pe_core_large_patch14_336", embed_dim=16, depth=2, num_heads=2, ref_feat_shape=[4, 4]),
        decoder=dict(
            hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            head_dim=8, tie_word_embeddings=True, rope_theta=500000.0,
            rope_scaling=dict(
                rope_type="llama3", factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0,
                original_max_position_embeddings=128,
            ),
        ),
        cases=dict(describe=[1], relation=[0, 2], overlap=[0, 1, 2], one_pixel=[2], tiny=[0], redundant=[1, 2]),
    ),
    # 8x8 patches of 8 pixels, 4x4 tokens a tile; follows GAR-8B: no class token, untied head; two shards
    "tile64": dict(
        seed=9,
        dtype=torch.bfloat16,
        shards=2,
        slots=7,
        tile=64,
        max_num_tiles=9,
        pool=2,
        stop=["<|end_of_text|>", "<|eot_id|>"],
        tower=dict(
            architecture="vit_pe_core_gigantic_patch14_448", embed_dim=32, depth=2, num_heads=2, patch_size=8,
            ref_feat_shape=[8, 8],
        ),
        decoder=dict(
            hidden_size=32, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=1,
            head_dim=8, tie_word_embeddings=False, rope_theta=10000.0,
            rope_scaling=dict(
                rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                original_max_position_embeddings=256,
            ),
        ),
        cases=dict(describe=[1], relation=[2, 5], overlap=[0, 3, 6], portrait=[4]),
    ),
    # 3x3 patches of 16 pixels, not pooled: 9 tokens a tile; heads wider than D / heads, no rotary scaling, one stop token;
    # the tower keeps the architecture's own rotary reference grid (24x24) and states an MLP ratio that does not divide
    "tile48": dict(
        seed=1,
        dtype=torch.float16,
        shards=1,
        slots=4,
        tile=48,
        max_num_tiles=4,
        pool=1,
        stop="<|eot_id|>",
        tower=dict(architecture="vit_pe_core_large_patch14_336", embed_dim=24, depth=1, num_heads=2, mlp_ratio=2.55, patch_size=16),
        decoder=dict(
            hidden_size=40, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4,
            head_dim=16, tie_word_embeddings=False, rope_theta=10000.0, rope_scaling=None,
        ),
        cases=dict(describe=[3], one_pixel=[0], tiny=[2], redundant=[0, 3]),
    ),
    # 3x3 patches pooled to a single token a tile, and one-token replays
    "tile42": dict(
        seed=0,
        dtype=torch.bfloat16,
        shards=1,
        slots=2,
        tile=42,
        max_num_tiles=6,
        pool=3,
        stop=["<|end_of_text|>", "<|eot_id|>"],
        tower=dict(architecture="vit_pe_core_gigantic_patch14_448", embed_dim=16, depth=1, num_heads=2, mlp_ratio=2, ref_feat_shape=[3, 3]),
        decoder=dict(
            hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
            head_dim=16, tie_word_embeddings=True, rope_theta=10000.0, rope_scaling=None,
        ),
        cases=dict(relation=[0, 1], portrait=[1]),
    ),
}  # fmt: skip

CHAT_TEMPLATE = """\
{{- bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = 'You answer questions about regions of a picture.' %}
{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' + system_message + '<|eot_id|>' }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {%- for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<|image|>' }}{%- endfor %}
    {%- for content in message['content'] | selectattr('type', 'equalto', 'video') %}{{ '<|video|>' }}{%- endfor %}
    {%- for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{- content['text'] | trim }}{%- endfor %}
    {{- '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}"""

SENTENCES = [
    "There are some objects I am curious about: the region, the picture, the tile.",
    "Describe this masked region in detail, including the relationship with the other one.",
    "You answer questions about regions of a picture. What colour is the region?",
    "Question: Which one is in front? Options: Answer with the correct option's letter directly.",
    "What is the one doing to the other? Is it a reflection? It is not in the image.",
]
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def special_tokens(slots: int) -> list[str]:
    """In the released order, with only as many reserved tokens as the slots need."""
    reserved = [f"<|reserved_special_token_{i}|>" for i in range(2, max(slots + 2, 5))]
    return [
        "<|begin_of_text|>", "<|end_of_text|>", "<|image|>", "<|video|>", *reserved[:2],
        "<|start_header_id|>", "<|end_header_id|>", reserved[2], "<|eot_id|>", *reserved[3:],
        *(f"<Prompt{slot}>" for slot in range(slots)), "<NO_Prompt>",
    ]  # fmt: skip


def make_tokenizer(slots: int) -> tokenizers.Tokenizer:
    """A byte-level BPE of 256 bytes and 64 merges, built like the released one."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(ignore_merges=True))
    split = pre_tokenizers.Split(Regex(SPLIT), behavior="isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(SENTENCES, trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet))
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special_tokens(slots)])
    bos = "<|begin_of_text|>"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, tokenizer.token_to_id(bos))]
    )
    return tokenizer


def random_weights(model: dict, tower_config: dict, decoder_config: dict) -> dict[str, torch.Tensor]:
    """A tensor for every name of the released layout. Matrices are scaled by their inputs, so that signals keep their size."""
    tower = timm.create_model(tower_config["architecture"], num_classes=0, **tower_config["model_args"])
    decoder = LlamaForCausalLM(LlamaConfig(**decoder_config))
    width, hidden = tower.embed_dim, decoder_config["hidden_size"]
    shapes = {f"mllm.model.vision_tower.timm_model.{name}": w.shape for name, w in tower.state_dict().items()}
    for name, weight in decoder.state_dict().items():
        if name != "lm_head.weight":
            shapes[f"mllm.model.language_model.{name.removeprefix('model.')}"] = weight.shape
        elif not decoder_config["tie_word_embeddings"]:
            shapes["mllm.lm_head.weight"] = weight.shape
    for layer, inputs in (("linear_1", width), ("linear_2", hidden)):
        shapes[f"mllm.model.multi_modal_projector.{layer}.weight"] = (hidden, inputs)
        shapes[f"mllm.model.multi_modal_projector.{layer}.bias"] = (hidden,)
    shapes["mask_patch_embedding.weight"] = tower.patch_embed.proj.weight.shape

    generator = torch.Generator().manual_seed(model["seed"])
    weights = {}
    for name, shape in sorted(shapes.items()):
        noise = torch.randn(tuple(shape), generator=generator)
        if "norm" in name and name.endswith("weight"):
            weight = 1 + 0.2 * noise
        elif "gamma" in name:
            weight = 0.5 + 0.2 * noise
        elif name.endswith("bias"):
            weight = 0.2 * noise
        elif "embed_tokens" in name or "lm_head" in name:
            weight = 1.2 * noise  # logits far apart
        elif "pos_embed" in name or "cls_token" in name:
            weight = 0.6 * noise
        else:
            weight = 1.5 * noise / np.sqrt(np.prod(shape[1:]))
        weights[name] = weight.to(model["dtype"])
    return weights


def save_weights(weights: dict[str, torch.Tensor], shards: int, folder: Path):
    if shards == 1:
        return save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    names, weight_map = sorted(weights), {}
    for number in range(shards):
        shard = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = names[number * len(names) // shards : (number + 1) * len(names) // shards]
        save_file({name: weights[name] for name in part}, folder / shard, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, shard)
    size = sum(weight.nbytes for weight in weights.values())
    write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": size}, "weight_map": weight_map})


def make_model(model: dict, folder: Path):
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer(model["slots"])
    token = tokenizer.token_to_id
    stop = [token(name) for name in model["stop"]] if isinstance(model["stop"], list) else token(model["stop"])
    args = dict(model["tower"])
    architecture, patch = args.pop("architecture"), args.get("patch_size", 14)
    tower = dict(
        model_type="timm_wrapper",
        architecture=architecture,
        model_args=args
        | dict(img_size=[model["tile"]] * 2, global_pool="", use_post_transformer_norm=False, init_values=0.1),
    )
    decoder = model["decoder"] | dict(
        model_type="llama", vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=4096, rms_norm_eps=1e-5,
        hidden_act="silu", attention_bias=False, mlp_bias=False, bos_token_id=token("<|begin_of_text|>"), eos_token_id=stop,
    )  # fmt: skip
    dtype = str(model["dtype"]).removeprefix("torch.")
    config = dict(
        architectures=["GARModel"],
        model_type="GAR",
        torch_dtype=dtype,
        prompt_numbers=model["slots"],
        crop_tokens_ids=[token(f"<|reserved_special_token_{slot + 2}|>") for slot in range(model["slots"])],
        kernel_size=[patch, patch],
        patch_size_h=patch,
        patch_size_w=patch,
        mask_path_embedding_out_channels=args["embed_dim"],
        mllm_config=dict(
            model_type="perception_lm",
            image_token_id=token("<|image|>"),
            video_token_id=token("<|video|>"),
            projector_pooling_ratio=model["pool"],
            vision_use_cls_token="large" in architecture,
            tie_word_embeddings=decoder["tie_word_embeddings"],
            vision_config=tower,
            text_config=decoder,
        ),
    )
    tile = model["tile"]
    preprocessor = dict(
        image_processor_type="PerceptionLMImageProcessorFast", processor_class="PerceptionLMProcessor",
        vision_input_type="thumb+tile", tile_size=tile, max_num_tiles=model["max_num_tiles"],
        size=dict(height=tile, width=tile), do_resize=True, do_rescale=True, do_normalize=True, resample=3,
        rescale_factor=1 / 255, image_mean=[0.5] * 3, image_std=[0.5] * 3,
    )  # fmt: skip
    tokenizer_config = dict(
        tokenizer_class="PreTrainedTokenizerFast", bos_token="<|begin_of_text|>", eos_token="<|eot_id|>",
        pad_token="<|end_of_text|>", image_token="<|image|>", video_token="<|video|>", model_max_length=4096,
        clean_up_tokenization_spaces=False,
    )  # fmt: skip
    write_json(folder / "config.json", config)
    write_json(folder / "preprocessor_config.json", preprocessor)
    processor = dict(processor_class="PerceptionLMProcessor", patch_size=patch, pooling_ratio=model["pool"])
    write_json(folder / "processor_config.json", processor)
    generation = dict(bos_token_id=token("<|begin_of_text|>"), eos_token_id=stop, do_sample=False)
    write_json(folder / "generation_config.json", generation)
    write_json(folder / "tokenizer_config.json", tokenizer_config)
    (folder / "tokenizer.json").write_text(tokenizer.to_str())
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    save_weights(random_weights(model, tower, decoder), model["shards"], folder)


# -------------------------------------------------------------------------------------------------------------- writing


def write_json(path: Path, value):
    path.write_text(json.dumps(value, indent=1) + "\n")


def make_case(gar: Gar, name: str, slots: list[int], images: Path, folder: Path) -> float:
    """Writes one case and returns the smallest of its margins."""
    image, masks, question = CASES[name]
    case = dict(
        name=name,
        image=f"images/{image}",
        size=[masks[0].shape[1], masks[0].shape[0]],
        prompts=slots,
        masks=[encode_mask(mask) for mask in masks],
        user_text=question.format(*(f"<Prompt{slot}>" for slot in slots)),
    )
    result = gar.run(case, images, steps=STEPS)
    scene = result["scene"]
    case |= dict(
        grid=list(scene.grid),
        tiles=len(scene.pixels),
        tokens=len(scene.input_ids),
        max_num_tiles=gar.max_num_tiles,
        boxes={str(slot): box for slot, box in scene.boxes.items()},
        greedy={rule: {key: result[rule][key] for key in ("tokens", "min_margin", "text")} for rule in BOX_RULES},
    )
    write_json(folder / f"{name}.json", case)

    generator, stored = torch.Generator().manual_seed(0), {}
    for key, tensor in stored_names(result, gar).items():
        if tensor.is_floating_point() and tensor.numel() > WHOLE:
            index = torch.randperm(tensor.numel(), generator=generator)[:PROBES].sort().values
            stored |= {f"{key}.index": index, f"{key}.value": tensor.flatten()[index]}
        else:
            stored[key] = tensor.clone()  # safetensors refuses tensors that share memory
    save_file(stored, folder / f"{name}.safetensors")
    return min(result[rule]["min_margin"] for rule in BOX_RULES)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", required=True, type=Path, help="the fixtures folder")
    parser.add_argument("--any-margin", action="store_true", help="write cases with small margins too, to try seeds")
    parser.add_argument("model", nargs="*", default=list(MODELS), help="models to make (default: all)")
    args = parser.parse_args()

    (args.out / "images").mkdir(parents=True, exist_ok=True)
    for name, picture in pictures().items():
        picture.save(args.out / "images" / name, optimize=True)
    for name in args.model:
        model, folder = MODELS[name], args.out / name
        make_model(model, folder)
        gar = Gar(folder)
        (folder / "cases").mkdir(exist_ok=True)
        for case, slots in model["cases"].items():
            margin = make_case(gar, case, slots, args.out, folder / "cases")
            print(f"{name}/{case}: smallest margin {margin:.4f}")
            if margin < LEAST_MARGIN and not args.any_margin:
                raise SystemExit(f"{name}/{case}: margin below {LEAST_MARGIN}; take another seed")


if __name__ == "__main__":
    main()
