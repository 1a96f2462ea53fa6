"""The checkpoints of the families beyond `tests.checkpoints`: what transformers' configuration class is given.

`make_golden` builds each model with transformers once, and keeps its config.json and the names and shapes of its
tensors. `build` makes the same checkpoint of that again, without transformers.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests import checkpoints

HERE = Path(__file__).resolve().parent
_SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
_IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None}
_BYTES = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": 0}


_NULL = ("q_lora_rank", "rotary_emb_scale_base")
"""Keys that the converter asks for, though they are null."""


class Variant(NamedTuple):
    """A checkpoint: its class in transformers, the arguments of its configuration, and its tokenizer."""

    config_class: str
    """"" where transformers has none: then `config` is the whole config.json, and `shapes` are the tensors."""
    config: Mapping[str, Any]
    tokenizer: str
    dtype: str = "F32"
    edited: Mapping[str, Any] = {}
    """Keys of config.json as published checkpoints spell them; those with None are dropped."""
    files: Mapping[str, Any] = {}
    shapes: Mapping[str, tuple[int, ...]] = {}
    auto_class: str = "AutoModelForCausalLM"
    plain: bool = False
    """The converter is given config.json as it is: what transformers makes of it lacks keys that it asks for."""

    @property
    def pretokenizer(self) -> str | None:
        """The name its converter is told, as no hash is known of vocabularies made up here."""
        cuts = {"sentencepiece": None, "gemma": None, "glm4": "llama-bpe"}
        cuts |= {
            "wordpiece": "bert-bge",
            "wordpiece-cased": "bert-bge",
            "roberta": "gpt-2",
            "modern-bert": "gpt-2",
            "unigram": None,
        }
        return cuts.get(self.tokenizer, self.tokenizer)


def without_nulls(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config without the keys that say nothing; null says something of those whose default is a number."""
    return {key: value for key, value in config.items() if value is not None or key in _NULL}


def golden(name: str) -> dict[str, Any]:
    """What llama.cpp's converter made of a checkpoint, and what the checkpoint was."""
    stored: dict[str, Any] = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    return stored


def build(
    name: str,
    directory: Path,
    *,
    config: Mapping[str, Any] | None = None,
    tensors: Mapping[str, np.ndarray | None] | None = None,
    stored: Mapping[str, Any] | None = None,
) -> Path:
    """Write the checkpoint of a variant into `directory`, and return it.

    `config` replaces keys of config.json, and drops those it gives None for; `tensors` does the same with tensors.
    """
    variant, stored = {**VARIANTS, **ENCODERS}[name], stored or golden(name)
    directory.mkdir(parents=True, exist_ok=True)
    described, _ = checkpoints.tokenizer_files(variant.tokenizer)
    settings = {**stored["config"], **(config or {})}
    weights = {key: checkpoints.numbers(key, tuple(shape)) for key, shape in stored["stored"].items()}
    kept = {key: values for key, values in {**weights, **(tensors or {})}.items() if values is not None}
    path = directory / "model.safetensors"
    checkpoints.save_safetensors(path, {key: checkpoints.cast(key, v, variant.dtype) for key, v in kept.items()})
    files = {**described, **variant.files, "config.json": without_nulls(settings)}
    for file, content in files.items():
        checkpoints.write(directory / file, content)
    return directory


_GEMMA = {**_SIZES, **_IDS, "head_dim": 16, "vocab_size": 1024, "tie_word_embeddings": True}
_GEMMA3 = {**_GEMMA, "num_hidden_layers": 7, "sliding_window": 16, "query_pre_attn_scalar": 16}
_GEMMA3_PUBLISHED = {
    "rope_parameters": None,
    "layer_types": None,
    "_sliding_window_pattern": None,
    "rope_theta": 1000000.0,
    "rope_local_base_freq": 10000.0,
    "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
    "sliding_window_pattern": 6,
}
_VISION = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
_BYTE_LEVEL = {**_SIZES, **_BYTES, "vocab_size": 417}
_LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0, 1.05, 1.1, 1.25, 1.5, 1.75],
    "long_factor": [1.0, 1.5, 2.5, 4.0, 8.0, 16.0],
}
_EIGHT = {
    "short_factor": [*_LONGROPE["short_factor"], 2.0, 2.25],
    "long_factor": [*_LONGROPE["long_factor"], 20.0, 24.0],
}
_PHI3 = {**_SIZES, **_IDS, "pad_token_id": 0, "vocab_size": 1024, "original_max_position_embeddings": 128}
_NEOX = {key: value for key, value in _BYTE_LEVEL.items() if key != "num_key_value_heads"}
_PUBLISHED_NEOX = {"rope_parameters": None, "rotary_pct": 0.25, "rotary_emb_base": 10000}
_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
_MULTIPLIERS = {
    "embedding_multiplier": 12.0,
    "logits_scaling": 8.0,
    "residual_multiplier": 0.22,
    "attention_multiplier": 0.015625,
}
_GRANITE = {**_BYTE_LEVEL, **_MULTIPLIERS}
_COHERE2 = {**_BYTE_LEVEL, "head_dim": 16, "sliding_window": 16, "num_hidden_layers": 5}
_FALCON = {**_BYTES, "vocab_size": 417, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
_MPT = {**_BYTES, "vocab_size": 417, "d_model": 64, "n_layers": 2, "n_heads": 4, "max_seq_len": 128}
_BLOOM = {**_BYTES, "vocab_size": 417, "hidden_size": 64, "n_layer": 2, "n_head": 4}
_GLM4 = {**_SIZES, **_BYTES, "vocab_size": 418, "head_dim": 16}
_HAND = {**_SIZES, "torch_dtype": "float32", "transformers_version": "4.40.0"}


def _layers(shapes: Mapping[str, tuple[int, ...]], whole: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {**whole, **{name.format(layer): shape for layer in range(2) for name, shape in shapes.items()}}


_INTERNLM2 = {
    **_HAND, "architectures": ["InternLM2ForCausalLM"], "model_type": "internlm2", "vocab_size": 1024, "bias": False,
    "rms_norm_eps": 1e-5, "rope_theta": 1000000, "tie_word_embeddings": False, "hidden_act": "silu",
    "bos_token_id": 1, "eos_token_id": 2, "attn_implementation": "eager", "rope_scaling": None,
    "auto_map": {"AutoModelForCausalLM": "modeling_internlm2.InternLM2ForCausalLM"},
}  # fmt: skip


def _internlm2(key_heads: int) -> dict[str, tuple[int, ...]]:
    layer = {
        "attention.wqkv.weight": (64 + 2 * 16 * key_heads, 64), "attention.wo.weight": (64, 64),
        "feed_forward.w1.weight": (96, 64), "feed_forward.w2.weight": (64, 96), "feed_forward.w3.weight": (96, 64),
        "attention_norm.weight": (64,), "ffn_norm.weight": (64,),
    }  # fmt: skip
    whole = {"model.tok_embeddings.weight": (1024, 64), "model.norm.weight": (64,), "output.weight": (1024, 64)}
    return _layers({f"model.layers.{{}}.{name}": shape for name, shape in layer.items()}, whole)


_EXAONE = {
    **{key: value for key, value in _HAND.items() if key != "num_hidden_layers"}, "num_layers": 2,
    "architectures": ["ExaoneForCausalLM"], "model_type": "exaone", "vocab_size": 417, "layer_norm_epsilon": 1e-5,
    "activation_function": "silu", "rope_theta": 1000000, "tie_word_embeddings": False, "attention_dropout": 0.0,
    "embed_dropout": 0.0, "auto_map": {"AutoConfig": "configuration_exaone.ExaoneConfig"},
}  # fmt: skip


def _exaone(tied: bool) -> dict[str, tuple[int, ...]]:
    layer = {
        "ln_1.weight": (64,), "ln_2.weight": (64,), "attn.attention.q_proj.weight": (64, 64),
        "attn.attention.k_proj.weight": (32, 64), "attn.attention.v_proj.weight": (32, 64),
        "attn.attention.out_proj.weight": (64, 64), "mlp.c_fc_0.weight": (96, 64), "mlp.c_fc_1.weight": (96, 64),
        "mlp.c_proj.weight": (64, 96),
    }  # fmt: skip
    whole = {"transformer.wte.weight": (417, 64), "transformer.ln_f.weight": (64,)}
    head = {} if tied else {"lm_head.weight": (417, 64)}
    return _layers({f"transformer.h.{{}}.{name}": shape for name, shape in layer.items()}, {**whole, **head})


_MINICPM = {
    **_HAND, "architectures": ["MiniCPMForCausalLM"], "model_type": "minicpm", "vocab_size": 1024,
    "rms_norm_eps": 1e-5, "hidden_act": "silu", "scale_emb": 12, "scale_depth": 1.4, "dim_model_base": 32,
    "bos_token_id": 1, "eos_token_id": 2, "rope_scaling": None,
}  # fmt: skip


def _minicpm(tied: bool) -> dict[str, tuple[int, ...]]:
    layer = {
        "input_layernorm.weight": (64,), "post_attention_layernorm.weight": (64,),
        "self_attn.q_proj.weight": (64, 64), "self_attn.k_proj.weight": (32, 64),
        "self_attn.v_proj.weight": (32, 64), "self_attn.o_proj.weight": (64, 64),
        "mlp.gate_proj.weight": (96, 64), "mlp.up_proj.weight": (96, 64), "mlp.down_proj.weight": (64, 96),
    }  # fmt: skip
    whole = {"model.embed_tokens.weight": (1024, 64), "model.norm.weight": (64,)}
    head = {} if tied else {"lm_head.weight": (1024, 64)}
    return _layers({f"model.layers.{{}}.{name}": shape for name, shape in layer.items()}, {**whole, **head})


_YARN = {"rope_type": "yarn", "rope_theta": 500000.0, "factor": 4.0, "original_max_position_embeddings": 32}
_LLAMA = {**_SIZES, **_IDS, "vocab_size": 1024}
_BIASES = {"attention_bias": True, "mlp_bias": True}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2}
_QWEN2_MOE = {
    **_BYTE_LEVEL,
    "vocab_size": 420,
    **_EXPERTS,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 48,
}
_QWEN3_MOE = {
    **_BYTE_LEVEL,
    "vocab_size": 420,
    **_EXPERTS,
    "moe_intermediate_size": 32,
    "head_dim": 16,
    "norm_topk_prob": True,
}
_GPT_OSS = {**_BYTE_LEVEL, "head_dim": 16, "sliding_window": 16, "num_local_experts": 4, "num_experts_per_tok": 2}
_DEEPSEEK = {
    **_BYTE_LEVEL, "kv_lora_rank": 32, "q_lora_rank": 24, "qk_rope_head_dim": 8, "qk_nope_head_dim": 16,
    "v_head_dim": 12, "n_routed_experts": 4, "n_shared_experts": 2, "num_experts_per_tok": 2, "num_key_value_heads": 4,
    "moe_intermediate_size": 32, "first_k_dense_replace": 1,
}  # fmt: skip
_DEEPSEEK_YARN = {
    "type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "beta_fast": 32, "beta_slow": 1,
    "mscale": 0.707, "mscale_all_dim": 0.707,
}  # fmt: skip
_GROUPS = {"n_group": 2, "topk_group": 1}
_NO_AUXILIARY = {"scoring_func": "sigmoid", "topk_method": "noaux_tc"}
_OLD_ROPE = {"rope_parameters": None, "rope_theta": 10000.0}

VARIANTS: dict[str, Variant] = {
    "llama-linear-biased-tied": Variant(
        "LlamaConfig",
        {**_LLAMA, **_BIASES, "tie_word_embeddings": True,
         "rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}}, "sentencepiece",
    ),
    "llama-dynamic": Variant(
        "LlamaConfig", {**_LLAMA, "rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}},
        "sentencepiece", dtype="F16",
    ),
    "llama-llama3-biased": Variant(
        "LlamaConfig", {**_LLAMA, **_BIASES, "head_dim": 32, "rope_parameters": {**_LLAMA3, "rope_theta": 500000.0}},
        "sentencepiece", dtype="BF16",
    ),
    "llama-yarn-tied": Variant(
        "LlamaConfig", {**_LLAMA, "tie_word_embeddings": True, "rope_parameters": _YARN}, "sentencepiece",
    ),
    "llama-longrope": Variant(
        "LlamaConfig",
        {**_LLAMA, "rope_parameters": {**_LONGROPE, **_EIGHT, "original_max_position_embeddings": 32, "factor": 4.0}},
        "sentencepiece",
    ),
    "gemma": Variant("GemmaConfig", _GEMMA, "gemma"),
    "gemma-wide-bf16": Variant(
        "GemmaConfig", {**_GEMMA, "head_dim": 32, "num_key_value_heads": 1, "rms_norm_eps": 1e-5}, "gemma",
        dtype="BF16", edited={"rope_parameters": None, "rope_theta": 10000.0, "rope_scaling": None},
    ),
    "gemma2": Variant("Gemma2Config", {**_GEMMA, "sliding_window": 16, "query_pre_attn_scalar": 16}, "gemma"),
    "gemma2-wide-bf16": Variant(
        "Gemma2Config",
        {**_GEMMA, "head_dim": 32, "num_hidden_layers": 3, "sliding_window": 32, "query_pre_attn_scalar": 32,
         "attn_logit_softcapping": 20.0, "final_logit_softcapping": 15.0, "num_key_value_heads": 4},
        "gemma", dtype="BF16", edited={"rope_parameters": None, "layer_types": None, "rope_theta": 10000.0},
    ),
    "gemma2-scaled": Variant("Gemma2Config", {**_GEMMA, "query_pre_attn_scalar": 24}, "gemma"),
    "gemma3": Variant("Gemma3TextConfig", _GEMMA3, "gemma"),
    "gemma3-published-bf16": Variant(
        "Gemma3TextConfig",
        {**_GEMMA3, "head_dim": 32, "query_pre_attn_scalar": 32,
         "rope_parameters": {
             "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
             "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}},
        "gemma", dtype="BF16", edited=_GEMMA3_PUBLISHED,
    ),
    "gemma3-other-layers": Variant(
        "Gemma3TextConfig",
        {**_GEMMA3, "num_hidden_layers": 4, "final_logit_softcapping": 20.0,
         "layer_types": ["sliding_attention", "full_attention"] * 2}, "gemma",
    ),
    "gemma3-wrapped": Variant(
        "Gemma3Config",
        {"text_config": {**_GEMMA3, "num_hidden_layers": 6}, "vision_config": _VISION, "mm_tokens_per_image": 4,
         "boi_token_index": 5, "eoi_token_index": 6, "image_token_index": 7, "tie_word_embeddings": True, **_IDS},
        "gemma", auto_class="AutoModelForImageTextToText",
    ),
    "phi3": Variant("Phi3Config", {**_PHI3, "sliding_window": 2047}, "sentencepiece"),
    "phi3-longrope-bf16": Variant(
        "Phi3Config", {**_PHI3, "original_max_position_embeddings": 32, "rope_parameters": {**_LONGROPE, **_EIGHT}},
        "sentencepiece", dtype="BF16",
        edited={"rope_parameters": None, "rope_theta": 10000.0, "rope_scaling": {"type": "longrope", **_EIGHT}},
    ),
    "phi4": Variant(
        "Phi3Config", {**_BYTE_LEVEL, "original_max_position_embeddings": 128, "num_key_value_heads": 1}, "gpt-2"
    ),
    "phi4-mini": Variant(
        "Phi3Config",
        {**_BYTE_LEVEL, "tie_word_embeddings": True, "original_max_position_embeddings": 32,
         "rope_parameters": {**_LONGROPE, "partial_rotary_factor": 0.75}}, "gpt-2",
        edited={"rope_parameters": None, "rope_theta": 10000.0, "partial_rotary_factor": 0.75,
                "rope_scaling": {key: _LONGROPE[key] for key in ("short_factor", "long_factor")}
                | {"type": "longrope"}},
    ),
    "starcoder2": Variant("Starcoder2Config", _BYTE_LEVEL, "smollm"),
    "starcoder2-untied-bf16": Variant(
        "Starcoder2Config",
        {**_BYTE_LEVEL, "tie_word_embeddings": False, "sliding_window": 4096, "norm_epsilon": 1e-6,
         "rope_parameters": {"rope_type": "default", "rope_theta": 100000.0}}, "smollm", dtype="BF16",
    ),
    "gpt_neox": Variant("GPTNeoXConfig", _NEOX, "gpt-2", edited=_PUBLISHED_NEOX, plain=True),
    "gpt_neox-sequential-f16": Variant(
        "GPTNeoXConfig",
        {**_NEOX, "use_parallel_residual": False, "num_attention_heads": 2, "hidden_act": "gelu_new",
         "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0}},
        "gpt-2", dtype="F16", edited={**_PUBLISHED_NEOX, "rotary_pct": 1.0}, plain=True,
    ),
    "phi": Variant("PhiConfig", {**_BYTE_LEVEL, "intermediate_size": 256, "num_key_value_heads": 4}, "gpt-2"),
    "phi-published-f16": Variant(
        "PhiConfig",
        {**_BYTE_LEVEL, "intermediate_size": 256, "num_key_value_heads": None, "layer_norm_eps": 1e-6,
         "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25}},
        "gpt-2", dtype="F16", edited={"rope_parameters": None, "rope_theta": 10000.0, "partial_rotary_factor": 0.25},
    ),
    "stablelm": Variant("StableLmConfig", _BYTE_LEVEL, "gpt-2"),
    "stablelm-parallel-bf16": Variant(
        "StableLmConfig",
        {**_BYTE_LEVEL, "use_qkv_bias": True, "use_parallel_residual": True}, "gpt-2",
        dtype="BF16", edited={"rope_parameters": None, "rope_theta": 10000, "partial_rotary_factor": 0.25},
    ),
    "olmo": Variant("OlmoConfig", _BYTE_LEVEL, "gpt-2"),
    "olmo-clipped-tied": Variant(
        "OlmoConfig", {**_BYTE_LEVEL, "clip_qkv": 1.5, "tie_word_embeddings": True, "num_key_value_heads": 4}, "gpt-2",
        dtype="BF16",
    ),
    "olmo2": Variant("Olmo2Config", _BYTE_LEVEL, "gpt-2"),
    "olmo2-bf16": Variant(
        "Olmo2Config",
        {**_BYTE_LEVEL, "num_key_value_heads": 4, "rms_norm_eps": 1e-6,
         "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}}, "gpt-2", dtype="BF16",
    ),
    "olmo3": Variant("Olmo3Config", {**_BYTE_LEVEL, "num_hidden_layers": 4, "sliding_window": 16}, "gpt-2"),
    "granite": Variant("GraniteConfig", _GRANITE, "smollm"),
    "granite-biased-tied-bf16": Variant(
        "GraniteConfig",
        {**_GRANITE, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True,
         "rope_parameters": {"rope_type": "default", "rope_theta": 10000000.0}}, "smollm", dtype="BF16",
    ),
    "cohere": Variant("CohereConfig", _BYTE_LEVEL, "gpt-2"),
    "cohere-published-f16": Variant(
        "CohereConfig", {**_BYTE_LEVEL, "logit_scale": 0.25, "layer_norm_eps": 1e-6, "num_key_value_heads": 4}, "gpt-2",
        dtype="F16", edited={"model_max_length": 4096, "rope_parameters": None, "rope_theta": 500000.0},
    ),
    "cohere2": Variant("Cohere2Config", _COHERE2, "gpt-2", edited={"rotary_pct": 1.0}),
    "cohere2-published-bf16": Variant(
        "Cohere2Config", {**_COHERE2, "num_hidden_layers": 4, "logit_scale": 0.25, "sliding_window": 32}, "gpt-2",
        dtype="BF16",
        edited={"rope_parameters": None, "layer_types": None, "rope_theta": 10000.0, "rotary_pct": 1.0,
                "sliding_window_pattern": 4, "position_embedding_type": "rope_gptj",
                "order_of_interleaved_layers": "local_attn_first"},
    ),
    "smollm3": Variant("SmolLM3Config", {**_SIZES, **_BYTES, "vocab_size": 419, "num_hidden_layers": 5}, "llama-bpe"),
    "smollm3-untied-yarn": Variant(
        "SmolLM3Config",
        {**_SIZES, **_BYTES, "vocab_size": 419, "num_hidden_layers": 4, "tie_word_embeddings": False,
         "rope_parameters": {"rope_type": "yarn", "rope_theta": 5000000.0, "factor": 2.0,
                             "original_max_position_embeddings": 64}}, "llama-bpe", dtype="BF16",
    ),
    "falcon": Variant("FalconConfig", _FALCON, "gpt-2", edited={"num_kv_heads": 1}),
    "falcon-new-bf16": Variant(
        "FalconConfig", {**_FALCON, "new_decoder_architecture": True, "num_kv_heads": 2, "tie_word_embeddings": False},
        "gpt-2", dtype="BF16",
    ),
    "mpt": Variant("MptConfig", _MPT, "gpt-2", edited={"architectures": ["MPTForCausalLM"]}),
    "mpt-clipped-bf16": Variant(
        "MptConfig", {**_MPT, "attn_config": {"clip_qkv": 6.0, "alibi": True, "alibi_bias_max": 8}}, "gpt-2",
        dtype="BF16", edited={"architectures": ["MPTForCausalLM"]},
    ),
    "bloom": Variant("BloomConfig", _BLOOM, "gpt-2"),
    "bloom-f16": Variant("BloomConfig", {**_BLOOM, "n_head": 2}, "gpt-2", dtype="F16", edited={"seq_length": 512}),
    "internlm2": Variant("", _INTERNLM2, "sentencepiece", shapes=_internlm2(2)),
    "internlm2-dynamic-bf16": Variant(
        "",
        {**_INTERNLM2, "num_key_value_heads": 1, "rope_scaling": {"type": "dynamic", "factor": 2.0}},
        "sentencepiece", dtype="BF16", shapes=_internlm2(1),
    ),
    "exaone": Variant("", _EXAONE, "gpt-2", shapes=_exaone(tied=False), plain=True),
    "exaone-llama3-tied": Variant(
        "", {**_EXAONE, "tie_word_embeddings": True, "rope_scaling": _LLAMA3}, "gpt-2", dtype="BF16",
        shapes=_exaone(tied=True), plain=True,
    ),
    "mixtral": Variant("MixtralConfig", {**_LLAMA, "num_local_experts": 4, "head_dim": None}, "sentencepiece"),
    "mixtral-published-bf16": Variant(
        "MixtralConfig", {**_LLAMA, "num_local_experts": 3, "num_experts_per_tok": 1, "head_dim": 32},
        "sentencepiece", dtype="BF16", edited={"rope_parameters": None, "rope_theta": 1000000.0},
    ),
    "qwen2_moe": Variant("Qwen2MoeConfig", _QWEN2_MOE, "qwen2", edited={"layer_types": None}),
    "qwen2_moe-bf16": Variant(
        "Qwen2MoeConfig", {**_QWEN2_MOE, "num_experts": 5, "rms_norm_eps": 1e-5}, "qwen2",
        dtype="BF16", edited=_OLD_ROPE,
    ),
    "qwen3_moe": Variant("Qwen3MoeConfig", _QWEN3_MOE, "qwen2"),
    "qwen3_moe-published-bf16": Variant(
        "Qwen3MoeConfig", {**_QWEN3_MOE, "head_dim": 32, "num_experts": 6, "num_experts_per_tok": 3}, "qwen2",
        dtype="BF16", edited={**_OLD_ROPE, "num_local_experts": None, "num_experts": 6},
    ),
    "olmoe": Variant("OlmoeConfig", {**_BYTE_LEVEL, **_EXPERTS, "num_key_value_heads": 4}, "gpt-2"),
    "olmoe-published-f16": Variant(
        "OlmoeConfig", {**_BYTE_LEVEL, **_EXPERTS, "num_attention_heads": 2, "num_experts": 5}, "gpt-2", dtype="F16",
        edited=_OLD_ROPE,
    ),
    "granitemoe": Variant("GraniteMoeConfig", {**_GRANITE, "num_local_experts": 4}, "smollm"),
    "granitemoe-tied-bf16": Variant(
        "GraniteMoeConfig",
        {**_GRANITE, "num_local_experts": 3, "num_experts_per_tok": 1, "tie_word_embeddings": True}, "smollm",
        dtype="BF16", edited=_OLD_ROPE,
    ),
    "granitemoeshared": Variant(
        "GraniteMoeSharedConfig", {**_GRANITE, "num_local_experts": 4, "shared_intermediate_size": 48}, "smollm",
    ),
    "granitemoeshared-tied-bf16": Variant(
        "GraniteMoeSharedConfig",
        {**_GRANITE, "num_local_experts": 3, "shared_intermediate_size": 32, "tie_word_embeddings": True}, "smollm",
        dtype="BF16",
    ),
    "deepseek_v2": Variant("DeepseekV2Config", _DEEPSEEK, "gpt-2", edited={"scoring_func": "softmax"}),
    "deepseek_v2-lite-bf16": Variant(
        "DeepseekV2Config",
        {**_DEEPSEEK, "q_lora_rank": None, "first_k_dense_replace": 2, "num_hidden_layers": 3, "n_shared_experts": 1},
        "gpt-2", dtype="BF16",
        edited={"rope_parameters": None, "rope_theta": 10000, "scoring_func": "softmax", "n_group": 1, "topk_group": 1,
                "rope_scaling": _DEEPSEEK_YARN, "moe_layer_freq": 1, "ep_size": 1},
    ),
    "deepseek_v3": Variant("DeepseekV3Config", {**_DEEPSEEK, **_GROUPS}, "gpt-2", edited=_NO_AUXILIARY),
    "deepseek_v3-yarn-bf16": Variant(
        "DeepseekV3Config", {**_DEEPSEEK, **_GROUPS, "num_hidden_layers": 3, "n_shared_experts": 1}, "gpt-2",
        dtype="BF16",
        edited={**_NO_AUXILIARY, "rope_parameters": None, "rope_theta": 10000,
                "rope_scaling": {**_DEEPSEEK_YARN, "mscale": 1.0, "mscale_all_dim": 1.0}},
    ),
    "gpt_oss": Variant("GptOssConfig", _GPT_OSS, "gpt-2"),
    "gpt_oss-bf16": Variant(
        "GptOssConfig", {**_GPT_OSS, "num_hidden_layers": 3, "num_local_experts": 3, "rms_norm_eps": 1e-6}, "gpt-2",
        dtype="BF16",
        edited={"rope_parameters": None, "rope_theta": 150000, "initial_context_length": 32, "experts_per_token": 2,
                "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "beta_fast": 32.0, "beta_slow": 1.0,
                                 "original_max_position_embeddings": 32}},
    ),
    "glm4": Variant("Glm4Config", _GLM4, "glm4"),
    "glm4-tied-bf16": Variant(
        "Glm4Config", {**_GLM4, "attention_bias": False, "tie_word_embeddings": True, "rms_norm_eps": 1e-5}, "glm4",
        dtype="BF16",
    ),
    "minicpm": Variant("", _MINICPM, "sentencepiece", shapes=_minicpm(tied=True)),
    "minicpm-longrope-untied": Variant(
        "",
        {**_MINICPM, "tie_word_embeddings": False, "scale_depth": 1.0,
         "rope_scaling": {"rope_type": "longrope", "original_max_position_embeddings": 64, **_EIGHT}},
        "sentencepiece", dtype="BF16", shapes=_minicpm(tied=False),
    ),
}  # fmt: skip

_BERT = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 417,
    "max_position_embeddings": 128, "pad_token_id": 0,
}  # fmt: skip


def _modules(pooling: Mapping[str, Any], *more: str) -> dict[str, Any]:
    """The files of sentence-transformers beside a model."""
    kinds = ["Transformer", "Pooling", *more]
    modules = [
        {"idx": index, "name": str(index), "path": f"{index}_{kind}" if index else "",
         "type": f"sentence_transformers.models.{kind}"}
        for index, kind in enumerate(kinds)
    ]  # fmt: skip
    return {"modules.json": modules, "1_Pooling/config.json": {"word_embedding_dimension": 64, **pooling}}


_MEAN = _modules({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "Normalize")
_FIRST = _modules({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "Normalize")
_LAST = _modules({"pooling_mode": "lasttoken"}, "Normalize")

_ROBERTA = {**_BERT, "vocab_size": 421, "pad_token_id": 1, "bos_token_id": 416, "eos_token_id": 418}
_MODERN = {
    **_BERT, "vocab_size": 421, "num_hidden_layers": 4, "local_attention": 16, "cls_token_id": 416, "bos_token_id": 416,
    "sep_token_id": 418, "eos_token_id": 418, "pad_token_id": 417,
}  # fmt: skip
_DISTIL = {
    "dim": 64, "hidden_dim": 96, "n_layers": 2, "n_heads": 4, "vocab_size": 417, "max_position_embeddings": 128,
    "pad_token_id": 0,
}  # fmt: skip
_XLM = {**_BERT, "vocab_size": 421, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
_NOMIC = {
    "architectures": ["NomicBertModel"], "model_type": "nomic_bert", "activation_function": "swiglu", "causal": False,
    "n_embd": 64, "n_head": 4, "n_inner": 96, "n_layer": 2, "n_positions": 8192, "max_trained_positions": 2048,
    "vocab_size": 417, "type_vocab_size": 2, "layer_norm_epsilon": 1e-12, "pad_vocab_size_multiple": 64,
    "mlp_fc1_bias": False, "mlp_fc2_bias": False, "qkv_proj_bias": False, "prenorm": False, "parallel_block": False,
    "parallel_block_tied_norm": False, "rotary_emb_base": 1000, "rotary_emb_fraction": 1.0,
    "rotary_emb_interleaved": False, "rotary_emb_scale_base": None, "rotary_scaling_factor": None,
    "scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "use_rms_norm": False, "use_xentropy": True,
    "dense_seq_output": True, "fused_bias_fc": True, "fused_dropout_add_ln": True, "use_flash_attn": True,
    "torch_dtype": "float32", "auto_map": {"AutoModel": "modeling_hf_nomic_bert.NomicBertModel"},
}  # fmt: skip


def _nomic(types: int) -> dict[str, tuple[int, ...]]:
    layer = {
        "attn.Wqkv.weight": (192, 64), "attn.out_proj.weight": (64, 64), "mlp.fc11.weight": (96, 64),
        "mlp.fc12.weight": (96, 64), "mlp.fc2.weight": (64, 96), "norm1.weight": (64,), "norm1.bias": (64,),
        "norm2.weight": (64,), "norm2.bias": (64,),
    }  # fmt: skip
    whole = {
        "emb_ln.weight": (64,), "emb_ln.bias": (64,), "embeddings.word_embeddings.weight": (417, 64),
        "embeddings.token_type_embeddings.weight": (types, 64),
    }  # fmt: skip
    return _layers({f"encoder.layers.{{}}.{name}": shape for name, shape in layer.items()}, whole)


ENCODERS: dict[str, Variant] = {
    "bert": Variant("BertConfig", _BERT, "wordpiece", files=_MEAN, auto_class="AutoModel"),
    "bert-masked-f16": Variant(
        "BertConfig", {**_BERT, "type_vocab_size": 1, "layer_norm_eps": 1e-6, "num_attention_heads": 2},
        "wordpiece-cased", dtype="F16", files=_FIRST, auto_class="AutoModelForMaskedLM",
    ),
    "roberta": Variant(
        "RobertaConfig", {**_ROBERTA, "type_vocab_size": 1}, "roberta", files=_MEAN, auto_class="AutoModel",
    ),
    "roberta-bf16": Variant(
        "RobertaConfig", {**_ROBERTA, "max_position_embeddings": 100, "num_attention_heads": 2, "pad_token_id": 2},
        "roberta", dtype="BF16", files=_LAST, auto_class="AutoModel",
    ),
    "distilbert": Variant("DistilBertConfig", _DISTIL, "wordpiece", files=_MEAN, auto_class="AutoModel"),
    "distilbert-masked-bf16": Variant(
        "DistilBertConfig", {**_DISTIL, "n_layers": 3, "n_heads": 2}, "wordpiece-cased", dtype="BF16", files=_LAST,
        auto_class="AutoModelForMaskedLM",
    ),
    "xlm_roberta": Variant(
        "XLMRobertaConfig", {**_XLM, "type_vocab_size": 1}, "unigram", files=_MEAN, auto_class="AutoModel",
    ),
    "xlm_roberta-f16": Variant(
        "XLMRobertaConfig", {**_XLM, "num_attention_heads": 2, "pad_token_id": 2}, "unigram", dtype="F16", files=_FIRST,
        auto_class="AutoModel",
    ),
    "modernbert": Variant("ModernBertConfig", _MODERN, "modern-bert", files=_FIRST, auto_class="AutoModel"),
    "modernbert-published-bf16": Variant(
        "ModernBertConfig", {**_MODERN, "num_hidden_layers": 5}, "modern-bert", dtype="BF16", files=_MEAN,
        edited={"layer_types": None, "rope_parameters": None, "global_attn_every_n_layers": 2,
                "global_rope_theta": 80000.0, "local_rope_theta": 10000.0, "layer_norm_eps": 1e-5},
        auto_class="AutoModel",
    ),
    "nomic_bert": Variant(
        "", _NOMIC, "wordpiece", files=_MEAN, shapes=_nomic(2), auto_class="AutoModel", plain=True,
    ),
    "nomic_bert-short-f16": Variant(
        "", {**_NOMIC, "n_positions": 2048, "type_vocab_size": 1, "rotary_emb_base": 10000, "n_head": 2}, "wordpiece",
        dtype="F16", files=_LAST, shapes=_nomic(1), auto_class="AutoModel", plain=True,
    ),
}  # fmt: skip
"""Models that give embeddings."""
