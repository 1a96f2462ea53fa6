"""llama.cpp's `deepseek2` architecture: keys and values out of one narrow vector (MLA), and some layers of experts."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from quantize_cli.errors import InputError
from quantize_cli.families.decoder import decoder, experts, rope
from quantize_cli.families.decoder.config import Config, count, number, spelled, switch
from quantize_cli.families.decoder.keys import Fixed
from quantize_cli.families.decoder.slots import Slot, optional
from quantize_cli.formats.gguf.layout import Value, f32, flag, u32
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = "deepseek2"
PREFIX = decoder.PREFIX
GATING = {"softmax": 1, "sigmoid": 2}
"""What `expert_gating_func` says of how the router scores experts."""
_LAYER = re.compile(r"layers\.(0|[1-9][0-9]{0,8})\.(.+)")
_LITE_LAYERS = (26, 27)
"""Numbers of layers by which llama.cpp knows models whose queries are not narrowed first."""
_EXPANDED = "self_attn.kv_b_proj.weight"
_NAMES = {
    "input_layernorm": ("attn_norm", ("hidden",)),
    "self_attn.kv_a_proj_with_mqa": ("attn_kv_a_mqa", ("latent_and_rotary", "hidden")),
    "self_attn.kv_a_layernorm": ("attn_kv_a_norm", ("latent",)),
    "self_attn.k_b_proj": ("attn_k_b", ("heads", "latent", "plain")),
    "self_attn.v_b_proj": ("attn_v_b", ("heads", "value", "latent")),
    "self_attn.o_proj": ("attn_output", ("hidden", "values")),
    "post_attention_layernorm": ("ffn_norm", ("hidden",)),
}
_NARROW_QUERIES = {
    "self_attn.q_a_proj": ("attn_q_a", ("query_latent", "hidden")),
    "self_attn.q_a_layernorm": ("attn_q_a_norm", ("query_latent",)),
    "self_attn.q_b_proj": ("attn_q_b", ("wide_queries", "query_latent")),
}
_QUERIES = {"self_attn.q_proj": ("attn_q", ("wide_queries", "hidden"))}
_SHARED = {
    "mlp.shared_experts.gate_proj": ("ffn_gate_shexp", ("shared", "hidden")),
    "mlp.shared_experts.up_proj": ("ffn_up_shexp", ("shared", "hidden")),
    "mlp.shared_experts.down_proj": ("ffn_down_shexp", ("hidden", "shared")),
}


def _slots(names: Mapping[str, tuple[str, tuple[str, ...]]]) -> dict[str, Slot]:
    return {
        f"layers.{{}}.{name}.weight": Slot(f"blk.{{}}.{target}.weight", shape)
        for name, (target, shape) in names.items()
    }


_CORRECTION = {"layers.{}.mlp.gate.e_score_correction_bias": Slot("blk.{}.exp_probs_b.bias", ("experts",))}
_DENSE = {name: slot for name, slot in decoder.FEED_FORWARD.items() if name not in decoder.FEED_FORWARD_NORM}
_SPARSE = {**experts.QWEN.slots(), **_CORRECTION}
SLOTS = {
    **decoder.EMBEDDING,
    **_slots(_NAMES),
    **optional({**_slots({**_NARROW_QUERIES, **_QUERIES, **_SHARED}), **_DENSE, **_SPARSE}),
}
"""All there may be. `kv_b_proj` is cut in two before it is looked for."""


def metadata(config: Config) -> dict[str, Value]:
    key, rotated, latent = "deepseek2.{}", count(config, "qk_rope_head_dim"), count(config, "kv_lora_rank")
    narrow = {} if config["q_lora_rank"] is None else {"attention.q_lora_rank": u32(count(config, "q_lora_rank"))}
    entries = {
        "leading_dense_block_count": u32(_dense_layers(config)),
        "vocab_size": u32(count(config, "vocab_size")),
        **narrow,
        "attention.kv_lora_rank": u32(latent),
        "attention.key_length": u32(latent + rotated),
        "attention.value_length": u32(latent),
        "attention.key_length_mla": u32(count(config, "qk_nope_head_dim") + rotated),
        "attention.value_length_mla": u32(count(config, "v_head_dim")),
        "expert_feed_forward_length": u32(count(config, "moe_intermediate_size")),
        "expert_shared_count": u32(_shared_experts(config)),
        "expert_weights_scale": f32(number(config, "routed_scaling_factor")),
        "rope.dimension_count": u32(rotated),
    }
    return {
        **decoder.dimensions(ARCHITECTURE, {**config, "num_key_value_heads": 1}),
        **_positions(config),
        **decoder.epsilon(ARCHITECTURE, config, "rms_norm_eps"),
        **experts.metadata(ARCHITECTURE, config),
        **_router(config),
        **{key.format(name): value for name, value in entries.items()},
    }


def _router(config: Config) -> dict[str, Value]:
    """How experts are scored and chosen."""
    function = config["scoring_func"]
    if function not in GATING:
        raise InputError(f"config.json: key 'scoring_func' is {spelled(function)}, not {' or '.join(GATING)}")
    groups = {"n_group": "expert_group_count", "topk_group": "expert_group_used_count"}
    return {
        **{f"deepseek2.{name}": u32(count(config, key)) for key, name in groups.items() if config[key] is not None},
        "deepseek2.expert_gating_func": u32(GATING[function]),
        **({"deepseek2.expert_weights_norm": flag(True)} if switch(config, "norm_topk_prob") else {}),
    }


def _positions(config: Config) -> dict[str, Value]:
    """The magnitude of YaRN's vectors is llama.cpp's own here, out of `mscale_all_dim`."""
    stated, prefix = rope.parameters(config), "deepseek2.rope.scaling"
    entries = decoder.positions(ARCHITECTURE, config)
    entries.pop(f"{prefix}.attn_factor", None)
    if stated["rope_type"] != "yarn":
        return entries
    for key in ("beta_fast", "beta_slow"):
        if key in stated:
            entries[f"{prefix}.yarn_{key}"] = f32(number(stated, key))
    every = number(stated, "mscale_all_dim") if stated.get("mscale_all_dim") is not None else 0.0
    if stated.get("mscale") != stated.get("mscale_all_dim") or not every:
        raise InputError(
            f"config.json: key 'mscale' is {spelled(stated.get('mscale'))} and 'mscale_all_dim' "
            f"{spelled(stated.get('mscale_all_dim'))}: llama.cpp's '{ARCHITECTURE}' takes one number for both"
        )
    return {**entries, f"{prefix}.yarn_log_multiplier": f32(0.1 * every)}


def tensors(config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    """The stored tensors under their GGUF names, without the layers that predict further tokens."""
    sizes = {**decoder.sizes_of(config), **_sizes(config)}
    kept = [tensor for tensor in stored if _layer_of(tensor) < sizes["layers"]]
    whole = experts.gathered(experts.QWEN, [part for t in kept for part in _cut(t, sizes)], sizes, PREFIX)
    placed = decoder.tensors(SLOTS, config, whole, sizes=sizes)
    _refuse_other_layers(config, {tensor.name for tensor in placed})
    return placed


def remarks(config: Config, placed: Sequence[Tensor], defaults: Config, fixed: Fixed) -> tuple[str, ...]:
    converted = {
        *defaults,
        "num_nextn_predict_layers",
        "qk_head_dim",
        "head_dim",
        "ep_size",
        "aux_loss_alpha",
        "seq_aux",
    }
    everywhere: Fixed = {"attention_bias": (False,), "mlp_bias": (False,), "moe_layer_freq": (1,)}
    told = decoder.remarks(ARCHITECTURE, config, placed, converted, {**everywhere, **fixed})
    layers = count(config, "num_hidden_layers")
    if config["q_lora_rank"] is not None or layers in _LITE_LAYERS:
        return told
    return (*told, f"config.json: key 'q_lora_rank' is null, llama.cpp loads no such model of {layers} layers")


def _layer_of(tensor: Tensor) -> int:
    match = _LAYER.fullmatch(tensor.name.removeprefix(PREFIX))
    return int(match[1]) if match else -1


def _cut(tensor: Tensor, sizes: Mapping[str, int]) -> Iterator[Tensor]:
    """What widens a vector to keys and values, as a stack of each: that of keys the other way round."""
    if not tensor.name.endswith(_EXPANDED):
        yield tensor
        return
    heads, plain, value, latent = (sizes[word] for word in ("heads", "plain", "value", "latent"))
    expected = (heads * (plain + value), latent)
    if tensor.shape != expected:
        raise InputError(f"{tensor.origin} has shape {list(tensor.shape)}, the config says {list(expected)}")
    stack, module = replace(tensor, shape=(heads, plain + value, latent)), tensor.name.removesuffix(_EXPANDED)
    yield stack.rows_of_each(0, plain).transposed().renamed(f"{module}self_attn.k_b_proj.weight")
    yield stack.rows_of_each(plain, value).renamed(f"{module}self_attn.v_b_proj.weight")


def _refuse_other_layers(config: Config, names: set[str]) -> None:
    """InputError unless each layer has the feed-forward that the config says: one, or experts."""
    narrow = _slots(_QUERIES if config["q_lora_rank"] is None else _NARROW_QUERIES)
    sparse = {**experts.QWEN.slots(), **(_slots(_SHARED) if _shared_experts(config) else {})}
    if config["scoring_func"] == "sigmoid":
        sparse |= _CORRECTION
    for layer in range(count(config, "num_hidden_layers")):
        required = {**narrow, **(_DENSE if layer < _dense_layers(config) else sparse)}
        for name, slot in required.items():
            if any(part.target.format(layer) not in names for part in slot.parts or (slot,)):
                raise InputError(f"tensor '{name.format(layer)}' is missing from the checkpoint", hint=slot.hint)


def _dense_layers(config: Config) -> int:
    return count(config, "first_k_dense_replace") if config["first_k_dense_replace"] else 0


def _shared_experts(config: Config) -> int:
    return count(config, "n_shared_experts") if config["n_shared_experts"] else 0


def _sizes(config: Config) -> dict[str, int]:
    heads = count(config, "num_attention_heads")
    plain, rotated = count(config, "qk_nope_head_dim"), count(config, "qk_rope_head_dim")
    value, latent = count(config, "v_head_dim"), count(config, "kv_lora_rank")
    return {
        **experts.sizes_of(config, "moe_intermediate_size"),
        "plain": plain,
        "value": value,
        "values": heads * value,
        "latent": latent,
        "latent_and_rotary": latent + rotated,
        "query_latent": 0 if config["q_lora_rank"] is None else count(config, "q_lora_rank"),
        "wide_queries": heads * (plain + rotated),
        "shared": _shared_experts(config) * count(config, "moe_intermediate_size"),
    }
