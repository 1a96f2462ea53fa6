"""Small checkpoints of every family, the same bytes on every machine: what converters are compared on.

`build("qwen2", directory)` writes a directory that transformers would load: config.json, model.safetensors and the
tokenizer's files. The weights are multiples of 2**-12 below 1/2 in size, so they are exact in every float type wider
than bfloat16.
"""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from tests import vocabularies

FAMILIES = ("gpt2", "llama", "mistral", "qwen2", "qwen3")

_DTYPES = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype(ml_dtypes.bfloat16)}
_SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
}
_CLASSES = {
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
_CONFIGS: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128, "n_ctx": 128, "layer_norm_epsilon": 1e-5},
    "llama": {**_SIZES, "rope_theta": 10000.0, "tie_word_embeddings": False},
    "mistral": {**_SIZES, "head_dim": 32, "rope_theta": 1000000.0, "sliding_window": 64, "tie_word_embeddings": False},
    "qwen2": {**_SIZES, "rope_theta": 1000000.0, "tie_word_embeddings": True},
    "qwen3": {**_SIZES, "head_dim": 32, "rope_theta": 1000000.0, "tie_word_embeddings": True},
}
_TOKENIZERS = {
    "gpt2": "gpt-2",
    "llama": "sentencepiece",
    "mistral": "sentencepiece",
    "qwen2": "qwen2",
    "qwen3": "qwen2",
}

_NO_DUMMY_PREFIX = b"\x1a\x02\x18\x00"
"""Of a tokenizer.model: `normalizer_spec { add_dummy_prefix: false }`, which counts where it comes last."""

CHAT = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


def build(
    family: str,
    directory: Path,
    *,
    config: Mapping[str, Any] | None = None,
    tokenizer: str | None = None,
    dtype: str = "F32",
    files: Mapping[str, Any] | None = None,
    tensors: Mapping[str, np.ndarray | None] | None = None,
    prefixed: bool = True,
) -> Path:
    """Write a checkpoint of `family` into `directory` and return it.

    `config` replaces keys of config.json, and drops those it gives None for; `files` does the same with whole files
    (text, or anything JSON can say), `tensors` with tensors. `tokenizer` is "sentencepiece", "byte-fallback" or the
    name of a pre-tokenizer. `dtype` is F32, F16, BF16, or "mixed" for norms in F32 and the rest in BF16. Without
    `prefixed` the names lack what the class puts before them ("model.").
    """
    directory.mkdir(parents=True, exist_ok=True)
    described, vocabulary = tokenizer_files(tokenizer or _TOKENIZERS[family])
    stated = {
        "architectures": [_CLASSES[family]],
        "model_type": family,
        "vocab_size": vocabulary,
        **_CONFIGS[family],
        **(config or {}),
    }
    stated = {key: value for key, value in stated.items() if value is not None}
    weights: dict[str, np.ndarray | None] = {**_weights(family, stated, prefixed), **(tensors or {})}
    kept = {name: values for name, values in weights.items() if values is not None}
    save_safetensors(directory / "model.safetensors", {n: cast(n, values, dtype) for n, values in kept.items()})
    for name, content in {"config.json": stated, **described, **(files or {})}.items():
        if content is not None:
            write(directory / name, content)
    return directory


def save_safetensors(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    """A .safetensors file of these arrays."""
    save_file({name: np.asarray(values, order="C") for name, values in tensors.items()}, path, metadata)


def write(path: Path, content: Any) -> None:
    """A file of bytes, of text, or of what JSON can say."""
    path.parent.mkdir(exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1), encoding="utf-8")


_OF_BERT = ("[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]")


def tokenizer_files(kind: str) -> tuple[dict[str, Any], int]:
    """The files of a tokenizer, and how many tokens it has."""
    if kind == "sentencepiece":
        stated = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True}
        stated |= {"add_eos_token": False, "add_prefix_space": True, "tokenizer_class": "LlamaTokenizer"}
        model = vocabularies.SENTENCEPIECE.read_bytes()
        return {"tokenizer.model": model, "tokenizer_config.json": stated}, vocabularies.SENTENCEPIECE_SIZE
    if kind == "gemma":
        stated = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True}
        stated |= {"add_eos_token": False, "tokenizer_class": "GemmaTokenizer"}
        model = vocabularies.SENTENCEPIECE.read_bytes() + _NO_DUMMY_PREFIX
        return {"tokenizer.model": model, "tokenizer_config.json": stated}, vocabularies.SENTENCEPIECE_SIZE
    if kind == "byte-fallback":
        stated = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "tokenizer_class": "LlamaTokenizer"}
        document = vocabularies.byte_fallback()
    elif kind in ("llama-bpe", "smaug-bpe"):
        specials = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]
        document = vocabularies.byte_level(kind, specials, bos=specials[0])
        stated = {"bos_token": specials[0], "eos_token": specials[2], "tokenizer_class": "PreTrainedTokenizerFast"}
    elif kind in ("wordpiece", "wordpiece-cased"):
        document = vocabularies.wordpiece(lowercase=kind == "wordpiece")
        stated = {"cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]", "pad_token": "[PAD]"}
        stated |= {"mask_token": "[MASK]", "do_lower_case": kind == "wordpiece", "tokenizer_class": "BertTokenizer"}
        files = {"tokenizer.json": vocabularies.dump(document), "tokenizer_config.json": stated}
        return files, len(document["model"]["vocab"])
    elif kind in ("roberta", "modern-bert"):
        names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"] if kind == "roberta" else list(_OF_BERT)
        document = vocabularies.between(vocabularies.byte_level("gpt-2", names), kind, names[0], names[2])
        roles = ("bos", "pad", "eos", "unk", "mask") if kind == "roberta" else ("cls", "pad", "sep", "unk", "mask")
        stated = {f"{role}_token": name for role, name in zip(roles, names, strict=True)}
        stated |= {"tokenizer_class": "RobertaTokenizer" if kind == "roberta" else "PreTrainedTokenizerFast"}
    elif kind == "unigram":
        document = vocabularies.unigram()
        stated = {"bos_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "cls_token": "<s>"}
        stated |= {"unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>"}
        stated |= {"tokenizer_class": "XLMRobertaTokenizer"}
        files = {"tokenizer.json": vocabularies.dump(document), "tokenizer_config.json": stated}
        return files, len(document["model"]["vocab"])
    elif kind == "glm4":
        document = vocabularies.byte_level("llama-bpe", ["<|endoftext|>", "<|user|>"])
        stated = {"eos_token": "<|endoftext|>", "tokenizer_class": "PreTrainedTokenizerFast"}
    elif kind == "qwen2":
        document = vocabularies.byte_level(kind, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
        stated = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "bos_token": None, "add_bos_token": False}
        stated |= {"chat_template": CHAT, "tokenizer_class": "Qwen2Tokenizer"}
    else:
        document = vocabularies.byte_level(kind, ["<|endoftext|>"])
        stated = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "tokenizer_class": "GPT2Tokenizer"}
    files = {"tokenizer.json": vocabularies.dump(document), "tokenizer_config.json": stated}
    return files, vocabularies.size(document)


def cast(name: str, values: np.ndarray, dtype: str) -> np.ndarray:
    """A tensor in the dtype of a checkpoint: F32, F16, BF16, or "mixed" for norms in F32 and the rest in BF16."""
    if values.dtype != np.float32:
        return values
    if dtype == "mixed":
        dtype = "F32" if "norm" in name else "BF16"
    return values.astype(_DTYPES[dtype])


def _weights(family: str, config: Mapping[str, Any], prefixed: bool) -> dict[str, np.ndarray]:
    shapes = _gpt2_shapes(config) if family == "gpt2" else _decoder_shapes(family, config)
    prefix = {"gpt2": "transformer."}.get(family, "model.") if prefixed else ""
    return {
        (name if name.startswith("lm_head") else prefix + name): numbers(name, shape) for name, shape in shapes.items()
    }


def numbers(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Weights that depend on nothing but the tensor's name and shape: multiples of 2**-12 in [-1/2, 1/2), f32."""
    # RandomState's streams are frozen, those of numpy's newer generators are not.
    random = np.random.RandomState(zlib.crc32(name.encode()))
    drawn = random.randint(-(1 << 11), 1 << 11, size=shape)
    return (drawn / np.float32(1 << 12)).astype(np.float32)


def _decoder_shapes(family: str, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    feed_forward, vocabulary = config["intermediate_size"], config["vocab_size"]
    head = config.get("head_dim", 128 if family == "qwen3" else hidden // heads)
    queries, keys = heads * head, config.get("num_key_value_heads", heads) * head
    layer: dict[str, tuple[int, ...]] = {
        "input_layernorm.weight": (hidden,),
        "self_attn.q_proj.weight": (queries, hidden),
        "self_attn.k_proj.weight": (keys, hidden),
        "self_attn.v_proj.weight": (keys, hidden),
        "self_attn.o_proj.weight": (hidden, queries),
        "post_attention_layernorm.weight": (hidden,),
        "mlp.gate_proj.weight": (feed_forward, hidden),
        "mlp.up_proj.weight": (feed_forward, hidden),
        "mlp.down_proj.weight": (hidden, feed_forward),
    }
    if family == "qwen2" or config.get("attention_bias"):
        layer |= {f"self_attn.{part}_proj.bias": (queries if part == "q" else keys,) for part in "qkv"}
    if config.get("attention_bias"):
        layer["self_attn.o_proj.bias"] = (hidden,)
    if config.get("mlp_bias"):
        layer |= {f"mlp.{part}_proj.bias": (feed_forward,) for part in ("gate", "up")} | {
            "mlp.down_proj.bias": (hidden,)
        }
    if family == "qwen3":
        layer |= {"self_attn.q_norm.weight": (head,), "self_attn.k_norm.weight": (head,)}
    shapes = {"embed_tokens.weight": (vocabulary, hidden), "norm.weight": (hidden,)}
    for index in range(config["num_hidden_layers"]):
        shapes |= {f"layers.{index}.{name}": shape for name, shape in layer.items()}
    return shapes if config.get("tie_word_embeddings") else {**shapes, "lm_head.weight": (vocabulary, hidden)}


def _gpt2_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    hidden = config["n_embd"]
    inner = config.get("n_inner", 4 * hidden)
    layer = {
        "ln_1.weight": (hidden,),
        "ln_1.bias": (hidden,),
        "attn.c_attn.weight": (hidden, 3 * hidden),
        "attn.c_attn.bias": (3 * hidden,),
        "attn.c_proj.weight": (hidden, hidden),
        "attn.c_proj.bias": (hidden,),
        "ln_2.weight": (hidden,),
        "ln_2.bias": (hidden,),
        "mlp.c_fc.weight": (hidden, inner),
        "mlp.c_fc.bias": (inner,),
        "mlp.c_proj.weight": (inner, hidden),
        "mlp.c_proj.bias": (hidden,),
    }
    shapes: dict[str, tuple[int, ...]] = {
        "wte.weight": (config["vocab_size"], hidden),
        "wpe.weight": (config["n_positions"], hidden),
        "ln_f.weight": (hidden,),
        "ln_f.bias": (hidden,),
    }
    for index in range(config["n_layer"]):
        shapes |= {f"h.{index}.{name}": shape for name, shape in layer.items()}
    return shapes
