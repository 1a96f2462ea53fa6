"""The checkpoints that llama.cpp's converter was run on, each as arguments of `tests.checkpoints.build`."""

from pathlib import Path
from typing import Any, NamedTuple

from tests import checkpoints


class Variant(NamedTuple):
    """A checkpoint: its family, the name of its directory, and what sets it apart."""

    family: str
    directory: str
    options: dict[str, Any]

    def build(self, parent: Path) -> Path:
        return checkpoints.build(self.family, parent / self.directory, **self.options)

    @property
    def pretokenizer(self) -> str | None:
        """The name its converter is told, as no hash is known of vocabularies made up here."""
        default = {"gpt2": "gpt-2", "qwen2": "qwen2", "qwen3": "qwen2"}.get(self.family)
        return self.options.get("tokenizer", default)


_LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
_CARD = """---
license: apache-2.0
license_name: made-up
license_link: https://example.org/LICENSE
model_creator: Nobody
tags:
- made-up
- small
pipeline_tag: text-generation
language:
- en
- no
base_model:
- Qwen/Qwen2-0.5B-Instruct
- https://huggingface.co/someone/Some-Model-v2
datasets: roneneldan/TinyStories
---
# A card
"""
_GENERATION = {"temperature": 0.7, "top_k": 20, "top_p": 0.8, "repetition_penalty": 1.05, "eos_token_id": [2, 1]}
_ADDED = {
    "1024": {"content": "<|user|>", "special": False},
    "1025": {"content": "▁spaced out", "special": False},
    "1026": {"content": "<tool>", "special": True},
    "2": {"content": "</s>", "special": True},
}
_SPM_CONFIG = {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True, "added_tokens_decoder": _ADDED}
_AS_OBJECT = {"__type": "AddedToken", "content": "<|im_end|>", "lstrip": False, "normalized": False, "rstrip": False}
_BOS = {**_AS_OBJECT, "content": "<|begin_of_text|>"}
_LONG = {"factor": 4.0, "original_max_position_embeddings": 32}

VARIANTS = {
    "llama": Variant("llama", "made-up-llama", {}),
    "llama-defaults": Variant(
        "llama",
        "Llama-Made-Up-v1.5-GGUF",
        {
            "config": dict.fromkeys(
                ("num_key_value_heads", "rope_theta", "rms_norm_eps", "max_position_embeddings", "tie_word_embeddings")
            )
        },
    ),
    "llama-3": Variant(
        "llama",
        "Meta-Llama-3-1K-Instruct",
        {
            "tokenizer": "llama-bpe",
            "dtype": "BF16",
            "config": {
                "rope_theta": 500000.0,
                "rope_scaling": _LLAMA3_ROPE,
                "tie_word_embeddings": True,
                "hidden_size": 128,
                "num_attention_heads": 2,
                "num_key_value_heads": 1,
                "eos_token_id": [257, 258],
            },
        },
    ),
    "llama-3-new-spelling": Variant(
        "llama",
        "llama-3.2-made-up",
        {
            "tokenizer": "llama-bpe",
            "config": {
                "rope_theta": None,
                "rope_parameters": {**_LLAMA3_ROPE, "factor": 32.0, "rope_theta": 500000.0},
                "head_dim": 64,
            },
        },
    ),
    "llama-linear": Variant("llama", "x", {"config": {"rope_scaling": {"type": "linear", "factor": 2.0}}}),
    "llama-biased": Variant("llama", "biased", {"config": {"attention_bias": True, "mlp_bias": True}, "dtype": "F16"}),
    "llama-headless": Variant(
        "llama",
        "embedder-7b",
        {"config": {"architectures": ["LlamaModel"]}, "prefixed": False, "tensors": {"lm_head.weight": None}},
    ),
    "llama-byte-fallback": Variant("llama", "made-up-2", {"tokenizer": "byte-fallback"}),
    "llama-bos-as-object": Variant(
        "llama",
        "llama3",
        {
            "tokenizer": "llama-bpe",
            "files": {"tokenizer_config.json": {"bos_token": _BOS, "tokenizer_class": "PreTrainedTokenizerFast"}},
        },
    ),
    "llama-added-tokens": Variant(
        "llama",
        "made-up-3",
        {
            "config": {"vocab_size": 1032, "pad_token_id": 1030},
            "files": {"tokenizer_config.json": _SPM_CONFIG, "added_tokens.json": {"<old>": 1027}},
        },
    ),
    "llama-smollm": Variant("llama", "SmolLM2-135M-Made-Up", {"tokenizer": "smollm"}),
    "mistral": Variant("mistral", "Mistral-Made-Up-7B-v0.3", {"dtype": "BF16"}),
    "mistral-tekken": Variant(
        "mistral",
        "Mistral-Nemo-Made-Up",
        {"tokenizer": "tekken", "config": {"num_key_value_heads": None, "num_attention_heads": 8, "rope_theta": None}},
    ),
    "qwen2": Variant(
        "qwen2",
        "Made-Up-100K-Chat-v1.5",
        {"dtype": "BF16", "files": {"README.md": _CARD, "generation_config.json": _GENERATION}},
    ),
    "qwen2-untied-mixed": Variant(
        "qwen2",
        "qwen2-made-up",
        {
            "dtype": "mixed",
            "config": {"tie_word_embeddings": False, "_name_or_path": "Qwen/Qwen2-Made-Up-0.1M-Instruct"},
        },
    ),
    "qwen2-head-kept": Variant(
        "qwen2", "tied", {"tensors": {"lm_head.weight": checkpoints.numbers("lm_head.weight", (419, 64))}}
    ),
    "qwen2-yarn": Variant(
        "qwen2",
        "long",
        {
            "config": {"rope_scaling": {"rope_type": "yarn", "beta_fast": 16, "attention_factor": 0.9, **_LONG}},
            "files": {
                "chat_template.jinja": checkpoints.CHAT,
                "tokenizer_config.json": {"eos_token": _AS_OBJECT, "tokenizer_class": "Qwen2Tokenizer"},
            },
        },
    ),
    "qwen2-headless": Variant("qwen2", "e", {"config": {"architectures": ["Qwen2Model"]}, "prefixed": False}),
    "qwen3": Variant("qwen3", "Qwen3-Made-Up-1M-Base", {"dtype": "BF16"}),
    "qwen3-default-head": Variant("qwen3", "q", {"config": {"head_dim": None, "vocab_size": 512}}),
    "gpt2": Variant("gpt2", "gpt2-made-up", {"dtype": "F16"}),
    "gpt2-inner": Variant("gpt2", "inner", {"config": {"n_inner": 128}}),
    "gpt2-old": Variant(
        "gpt2",
        "old",
        {
            "prefixed": False,
            "config": {"vocab_size": 420, "eos_token_id": 416, "bos_token_id": 416},
            "tensors": {"lm_head.weight": checkpoints.numbers("lm_head.weight", (420, 64))},
        },
    ),
}
