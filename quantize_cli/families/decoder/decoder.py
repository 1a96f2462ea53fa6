"""What Llama and its descendants share: slots for their tensors, and the metadata that describes them."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from quantize_cli.errors import InputError
from quantize_cli.families.decoder import keys, rope
from quantize_cli.families.decoder.config import Config, architecture_class, count, number, spelled, switch
from quantize_cli.families.decoder.keys import Fixed
from quantize_cli.families.decoder.slots import HEAD, TIE_HINT, Slot, Slots, place, with_embedding
from quantize_cli.formats.gguf.layout import Value, f32, flag, u32
from quantize_cli.model.tensor import Tensor

PREFIX = "model."
"""What the classes put before stored names, but for the head's."""
EMBEDDING = {
    "embed_tokens.weight": Slot("token_embd.weight", ("vocabulary", "hidden"), hint=TIE_HINT),
    "norm.weight": Slot("output_norm.weight", ("hidden",)),
    HEAD: Slot("output.weight", ("vocabulary", "hidden"), hint=TIE_HINT),
}
ATTENTION = {
    "layers.{}.input_layernorm.weight": Slot("blk.{}.attn_norm.weight", ("hidden",)),
    "layers.{}.self_attn.q_proj.weight": Slot("blk.{}.attn_q.weight", ("queries", "hidden")),
    "layers.{}.self_attn.k_proj.weight": Slot("blk.{}.attn_k.weight", ("keys", "hidden")),
    "layers.{}.self_attn.v_proj.weight": Slot("blk.{}.attn_v.weight", ("keys", "hidden")),
    "layers.{}.self_attn.o_proj.weight": Slot("blk.{}.attn_output.weight", ("hidden", "queries")),
}
ATTENTION_BIASES = {
    "layers.{}.self_attn.q_proj.bias": Slot("blk.{}.attn_q.bias", ("queries",)),
    "layers.{}.self_attn.k_proj.bias": Slot("blk.{}.attn_k.bias", ("keys",)),
    "layers.{}.self_attn.v_proj.bias": Slot("blk.{}.attn_v.bias", ("keys",)),
}
OUTPUT_BIAS = {"layers.{}.self_attn.o_proj.bias": Slot("blk.{}.attn_output.bias", ("hidden",))}
HEAD_NORMS = {
    "layers.{}.self_attn.q_norm.weight": Slot("blk.{}.attn_q_norm.weight", ("head",)),
    "layers.{}.self_attn.k_norm.weight": Slot("blk.{}.attn_k_norm.weight", ("head",)),
}
FEED_FORWARD = {
    "layers.{}.post_attention_layernorm.weight": Slot("blk.{}.ffn_norm.weight", ("hidden",)),
    "layers.{}.mlp.gate_proj.weight": Slot("blk.{}.ffn_gate.weight", ("feed_forward", "hidden")),
    "layers.{}.mlp.up_proj.weight": Slot("blk.{}.ffn_up.weight", ("feed_forward", "hidden")),
    "layers.{}.mlp.down_proj.weight": Slot("blk.{}.ffn_down.weight", ("hidden", "feed_forward")),
}
FEED_FORWARD_BIASES = {
    "layers.{}.mlp.gate_proj.bias": Slot("blk.{}.ffn_gate.bias", ("feed_forward",)),
    "layers.{}.mlp.up_proj.bias": Slot("blk.{}.ffn_up.bias", ("feed_forward",)),
    "layers.{}.mlp.down_proj.bias": Slot("blk.{}.ffn_down.bias", ("hidden",)),
}
WINDOW_KEYS = ("sliding_window", "use_sliding_window", "max_window_layers")
"""Keys of windows that `refuse_windows` looks at."""
_HEAD = EMBEDDING[HEAD].target
_HEADLESS = "no head is stored, so llama.cpp takes the embedding for one: the file is of use for embeddings alone"
_CONVERTED = (
    *("rope_theta", "rope_scaling", "rope_parameters", "original_max_position_embeddings", "is_causal"),
    *("attention_bias", "layer_types"),
)
_FIXED: Fixed = {"hidden_act": keys.SILU, "hidden_activation": keys.SILU}


def with_adjacent_pairs(slots: Slots) -> dict[str, Slot]:
    """The same slots, with rotary rows as llama.cpp's `llama` architecture has them: pairs adjacent, not in halves."""
    heads = {"q_proj": "heads", "k_proj": "key_heads"}
    return {
        name: replace(slot, rotary_heads=next((heads[part] for part in heads if f".{part}." in name), ""))
        for name, slot in slots.items()
    }


def metadata(architecture: str, config: Config) -> dict[str, Value]:
    """The keys every decoder here has. Embedding models that look both ways say so."""
    key = architecture + ".{}"
    entries = {
        key.format("block_count"): u32(count(config, "num_hidden_layers")),
        key.format("context_length"): u32(count(config, "max_position_embeddings")),
        key.format("embedding_length"): u32(count(config, "hidden_size")),
        key.format("feed_forward_length"): u32(count(config, "intermediate_size")),
        key.format("attention.head_count"): u32(count(config, "num_attention_heads")),
        key.format("attention.head_count_kv"): u32(count(config, "num_key_value_heads")),
    }
    if config.get("is_causal") is False:
        entries[key.format("attention.causal")] = flag(False)
    entries.update(rope.metadata(architecture, rope.parameters(config), count(config, "max_position_embeddings")))
    entries[key.format("attention.layer_norm_rms_epsilon")] = f32(number(config, "rms_norm_eps"))
    if config.get("head_dim") is not None:
        entries[key.format("attention.key_length")] = u32(count(config, "head_dim"))
        entries[key.format("attention.value_length")] = u32(count(config, "head_dim"))
    return entries


def tensors(slots: Slots, config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    """The stored tensors under their GGUF names. Raises as `place` does.

    A model that shares its embedding with its output need store one of the two, one saved without a head no output.
    """
    tied = switch(config, "tie_word_embeddings")
    class_name = architecture_class(config)
    headless = bool(class_name) and not class_name.endswith("ForCausalLM")
    head = replace(slots[HEAD], optional=tied or headless)
    whole = with_embedding(stored, "embed_tokens.weight", tied, prefix=PREFIX)
    return place({**slots, HEAD: head}, _sizes(config), whole, prefix=PREFIX)


def remarks(
    architecture: str, config: Config, placed: Sequence[Tensor], converted: Collection[str], fixed: Fixed
) -> tuple[str, ...]:
    """Warnings for what the file will lack; InputError for a key that llama.cpp has no place for.

    `converted` are the keys of one family, besides those of them all.
    """
    heads, key_heads = count(config, "num_attention_heads"), count(config, "num_key_value_heads")
    head = head_dim(config)
    if heads % key_heads or head % 2:
        raise InputError(
            f"config.json: {heads} heads of {head} columns for {key_heads} key-value heads: "
            "heads are shared evenly, and their columns rotated in pairs"
        )
    kinds = config.get("layer_types")
    for kind in kinds if isinstance(kinds, list) else ():
        if kind != "sliding_attention":
            keys.refuse_other(architecture, "layer_types", kind, ("full_attention",))
    unknown = keys.check(config, architecture, {*_CONVERTED, *converted}, {**_FIXED, **fixed})
    headless = not switch(config, "tie_word_embeddings") and all(tensor.name != _HEAD for tensor in placed)
    return *unknown, *rope.remarks(config), *((_HEADLESS,) if headless else ())


def unasked(placed: Sequence[Tensor], targets: Collection[str]) -> tuple[str, ...]:
    """A warning when slots that the config does not ask for are filled: transformers would leave such biases out."""
    first_layer = {target.format(0) for target in targets}
    origins = [tensor.origin for tensor in placed if tensor.name in first_layer]
    if not origins:
        return ()
    return (f"{origins[0]} and its like are kept, though transformers loads none such with this config.json",)


def refuse_windows(architecture: str, config: Config) -> None:
    """InputError for layers that attend to a window of positions, where llama.cpp's graph attends to all."""
    window, context = config.get("sliding_window"), count(config, "max_position_embeddings")
    if not switch(config, "use_sliding_window") or window is None or count(config, "sliding_window") >= context:
        return
    first, kinds = config.get("max_window_layers"), config.get("layer_types")
    windowed = first is None or count(config, "num_hidden_layers") > number(config, "max_window_layers")
    if "sliding_attention" in kinds if isinstance(kinds, list) and kinds else windowed:
        raise InputError(
            f"config.json: key 'sliding_window' is {spelled(window)} and in use, llama.cpp's '{architecture}' attends "
            f"to all of {context} positions",
            hint=f"without 'use_sliding_window' the model is the same up to {window} tokens",
        )


def head_dim(config: Config) -> int:
    """Numbers in one attention head: stated, or an equal share of the hidden size."""
    if config.get("head_dim") is not None:
        return count(config, "head_dim")
    return count(config, "hidden_size") // count(config, "num_attention_heads")


def _sizes(config: Config) -> dict[str, int]:
    heads, key_heads = count(config, "num_attention_heads"), count(config, "num_key_value_heads")
    head = head_dim(config)
    return {
        "layers": count(config, "num_hidden_layers"),
        "vocabulary": count(config, "vocab_size"),
        "hidden": count(config, "hidden_size"),
        "feed_forward": count(config, "intermediate_size"),
        "heads": heads,
        "key_heads": key_heads,
        "head": head,
        "queries": heads * head,
        "keys": key_heads * head,
    }
