"""Build the checkpoints of `variants` with transformers, and keep what llama.cpp's converter makes of them.

    python -m tests.golden.families.make_golden LLAMA_CPP [variant ...]

LLAMA_CPP is a source tree of llama.cpp; this needs torch and transformers, the tests need neither. Each variant
becomes <variant>.json here: config.json and the shapes of the stored tensors, by which `variants.build` makes the
checkpoint again, what `tests.golden.converter.make_golden` keeps of the converter's files, and some of the float32
logits that transformers computes.
"""

import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.golden.converter.make_golden import convert, one_per_line, summary
from tests.golden.families.variants import ENCODERS, HERE, VARIANTS, Variant, build, without_nulls

TOKENS = tuple(range(3, 403, 9))
"""What logits are computed of: 45 tokens, more than the windows of the variants."""
KEPT = 24
"""Logits of the last position, of the first tokens of the vocabulary."""
TYPES = ("f32", "f16")


def main(llama_cpp: str, *names: str) -> None:
    sys.path[:0] = [llama_cpp, f"{llama_cpp}/gguf-py"]
    versions = {name: importlib.import_module(name).__version__ for name in ("torch", "transformers", "tokenizers")}
    variants = {**VARIANTS, **ENCODERS}
    for name in names or variants:
        variant = variants[name]
        with tempfile.TemporaryDirectory() as folder:
            stored = _skeleton(variant, Path(folder) / "transformers")
            directory = build(name, Path(folder) / name, stored=stored)
            if variant.plain:
                _use_plain_config()
            written = convert(directory, Path(folder), variant.pretokenizer, TYPES)
            golden = {"versions": versions, **stored, **summary(written), "logits": _logits(variant, directory)}
        (HERE / f"{name}.json").write_text(one_per_line(golden), encoding="utf-8")


def _skeleton(variant: Variant, directory: Path) -> dict[str, Any]:
    """config.json as transformers writes it, edited, and the shape of each tensor."""
    if not variant.config_class:
        config, shapes = dict(variant.config), {name: list(shape) for name, shape in variant.shapes.items()}
        return {"config": config, "stored": shapes}
    import safetensors
    import torch
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, variant.config_class)(**variant.config)
    model = getattr(transformers, variant.auto_class).from_config(config)
    model.save_pretrained(directory)
    settings = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    settings = without_nulls({**settings, **variant.edited})
    with safetensors.safe_open(directory / "model.safetensors", "numpy") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    return {"config": settings, "stored": shapes}


def _use_plain_config() -> None:
    """Have the converter do what it does where transformers cannot load a config: read the file."""
    base = importlib.import_module("conversion.base")
    base.AutoConfig = None  # type: ignore[attr-defined]


def _logits(variant: Variant, directory: Path) -> dict[str, Any]:
    """Float32 logits of the last of `TOKENS`; of an encoder, its state."""
    import torch
    import transformers

    model_type = json.loads((directory / "config.json").read_text(encoding="utf-8"))["model_type"]
    if model_type in _STAND_INS:
        model = _STAND_INS[model_type](directory)
    else:
        class_ = getattr(transformers, variant.auto_class)
        model = class_.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        if variant.auto_class in _ENCODERS:
            logits = model.eval()(input_ids=torch.tensor([TOKENS]), output_hidden_states=True).hidden_states[-1][0, -1]
        else:
            logits = model.eval()(input_ids=torch.tensor([TOKENS])).logits[0, -1]
    return {"kept": [float(value) for value in logits[:KEPT]], "largest": float(logits.abs().max())}


def _settings(directory: Path) -> dict[str, Any]:
    """What all relatives of Llama are told."""
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    rope = {
        "rope_type": "default",
        "rope_theta": config.get("rope_theta", 10000.0),
        **(config.get("rope_scaling") or {}),
    }
    rope["rope_type"] = rope.pop("type", rope["rope_type"])
    return {**config, "rope_parameters": rope}


def _minicpm(directory: Path) -> Any:
    """MiniCPM as Granite, whose multipliers can say all of it."""
    import transformers
    from safetensors.torch import load_file

    settings = _settings(directory)
    width, heads, layers = (settings[key] for key in ("hidden_size", "num_attention_heads", "num_hidden_layers"))
    multipliers = {
        "embedding_multiplier": settings["scale_emb"],
        "residual_multiplier": settings["scale_depth"] / layers**0.5,
        "logits_scaling": width / settings["dim_model_base"],
        "attention_multiplier": (width // heads) ** -0.5,
        "tie_word_embeddings": settings.get("tie_word_embeddings", True),
    }
    model = transformers.GraniteForCausalLM(transformers.GraniteConfig(**{**settings, **multipliers}))
    weights = {name: tensor.float() for name, tensor in load_file(directory / "model.safetensors").items()}
    assert model.load_state_dict(weights, strict=False).missing_keys in ([], ["lm_head.weight"])
    model.tie_weights()
    return model


def _internlm2(directory: Path) -> Any:
    """InternLM 2 as Llama, with its fused matrix cut into groups: heads of queries, one of keys, one of values."""
    import transformers
    from safetensors.torch import load_file

    settings = _settings(directory)
    groups = settings["num_key_value_heads"]
    names = {
        "attention.wo": "self_attn.o_proj", "feed_forward.w1": "mlp.gate_proj", "feed_forward.w2": "mlp.down_proj",
        "feed_forward.w3": "mlp.up_proj", "attention_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm", "tok_embeddings": "embed_tokens",
    }  # fmt: skip
    weights = {}
    for name, tensor in load_file(directory / "model.safetensors").items():
        renamed = "lm_head.weight" if name == "output.weight" else name
        for own, theirs in names.items():
            renamed = renamed.replace(own, theirs)
        if "wqkv" not in name:
            weights[renamed] = tensor.float()
            continue
        width = settings["hidden_size"] // settings["num_attention_heads"]
        parts = tensor.float().unflatten(0, (groups, -1, width))
        for letter, part in zip("qkv", (parts[:, :-2], parts[:, -2], parts[:, -1]), strict=True):
            weights[name.replace("attention.wqkv", f"self_attn.{letter}_proj")] = part.reshape(-1, tensor.shape[1])
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**settings))
    model.load_state_dict(weights)
    return model


def _nomic_bert(directory: Path) -> Any:
    """Nomic BERT by the names that transformers has for its keys; it reads the tensors by their own."""
    import torch
    import transformers

    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    stated = {
        "hidden_size": config["n_embd"], "intermediate_size": config["n_inner"], "num_hidden_layers": config["n_layer"],
        "num_attention_heads": config["n_head"], "head_dim": config["n_embd"] // config["n_head"],
        "vocab_size": config["vocab_size"], "type_vocab_size": config["type_vocab_size"],
        "layer_norm_eps": config["layer_norm_epsilon"],
        "rope_parameters": {"rope_type": "default", "rope_theta": float(config["rotary_emb_base"])},
    }  # fmt: skip
    return transformers.NomicBertModel.from_pretrained(
        directory, config=transformers.NomicBertConfig(**stated), dtype=torch.float32, add_pooling_layer=False
    )


_STAND_INS = {"minicpm": _minicpm, "internlm2": _internlm2, "nomic_bert": _nomic_bert}
"""Families that transformers lacks, as others that compute the same."""
_ENCODERS = ("AutoModel", "AutoModelForMaskedLM")


if __name__ == "__main__":
    main(*sys.argv[1:])
