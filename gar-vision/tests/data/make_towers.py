"""Makes towers.safetensors and towers.json: small towers with random weights and what timm 1.0.19 computes with them.

    pip install torch timm==1.0.19 safetensors && python make_towers.py
"""
import json
import pathlib

import timm
import torch
from safetensors.torch import save_file

LARGE, GIANT = "vit_pe_core_large_patch14_336", "vit_pe_core_gigantic_patch14_448"
TOWERS = [
    (LARGE, dict(img_size=40, patch_size=8, embed_dim=32, depth=2, num_heads=2, init_values=0.1,
                 global_pool="", use_post_transformer_norm=False)),
    (LARGE, dict(img_size=[28, 28], embed_dim=24, depth=1, num_heads=3, ref_feat_shape=None, rope_grid_indexing="ij",
                 rope_temperature=100.0, mlp_ratio=2.5, global_pool="")),
    (GIANT, dict(img_size=48, patch_size=16, embed_dim=32, depth=2, num_heads=4, qkv_bias=False, global_pool="avg")),
    (GIANT, dict(img_size=24, patch_size=8, embed_dim=32, depth=1, num_heads=1, class_token=True, rope_grid_offset=0.5,
                 ref_feat_shape=[5, 7], use_abs_pos_emb=False, global_pool="", use_post_transformer_norm=True)),
    (GIANT, dict(img_size=24, patch_size=8, embed_dim=16, depth=1, num_heads=2, use_rot_pos_emb=False, global_pool="")),
]

torch.manual_seed(0)
tensors, configs = {}, []
for i, (name, args) in enumerate(TOWERS):
    model = timm.create_model(name, pretrained=False, num_classes=0, **args).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
        parameter.data = parameter.data.bfloat16().float()
    size = model.patch_embed.img_size[0]
    tiles = torch.randn(3, 3, size, size)
    prompt = torch.randn(3, model.patch_embed.num_patches, model.embed_dim)
    embed = model.patch_embed.forward
    model.patch_embed.forward = lambda x: embed(x) + prompt
    with torch.no_grad():
        features = model.forward_features(tiles)[:, model.num_prefix_tokens:]
    model.patch_embed.forward = embed
    weights = {k: v for k, v in model.state_dict().items() if not k.startswith(("fc_norm", "attn_pool", "head"))}
    tensors |= {f"{i}.{k}": v.bfloat16().contiguous() for k, v in weights.items()}
    tensors |= {f"{i}.tiles": tiles, f"{i}.prompt": prompt, f"{i}.features": features.contiguous()}
    configs.append({"architecture": name, "model_args": args})

here = pathlib.Path(__file__).parent
save_file(tensors, here / "towers.safetensors")
(here / "towers.json").write_text(json.dumps(configs, indent=2) + "\n")
