"""What Llama and its descendants share: slots for their tensors, and the metadata that describes them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from quantize_cli.errors import InputError
from quantize_cli.families.decoder import keys, rope
from quantize_cli.families.decoder.config import Config, architecture_class, count, number, spelled, switch
from quantize_cli.families.decoder.keys import Fixed
from quantize_cli.families.decoder.slots import HEAD, TIE_HINT, Slot, Slots, place, with_embedding
from quantize_cli.formats.gguf.layout import Value, f32, flag, u32
from quantize_cli.model.tensor import Tensor


@dataclass(frozen=True)
class Names:
    """What a class of transformers calls what every model has."""

    prefix: str = "model."
    """Before stored names, but for the head's."""
    embedding: str = "embed_tokens.weight"
    head: str = HEAD


LLAMA = Names()
PREFIX = LLAMA.prefix
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
FEED_FORWARD_NORM = {"layers.{}.post_attention_layernorm.weight": Slot("blk.{}.ffn_norm.weight", ("hidden",))}
FEED_FORWARD = {
    **FEED_FORWARD_NORM,
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
_HEAD, _EMBEDDING = "output.weight", "token_embd.weight"
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


def dimensions(architecture: str, config: Config) -> dict[str, Value]:
    """The sizes every decoder here has."""
    key = architecture + ".{}"
    return {
        key.format("block_count"): u32(count(config, "num_hidden_layers")),
        key.format("context_length"): u32(count(config, "max_position_embeddings")),
        key.format("embedding_length"): u32(count(config, "hidden_size")),
        key.format("feed_forward_length"): u32(count(config, "intermediate_size")),
        key.format("attention.head_count"): u32(count(config, "num_attention_heads")),
        key.format("attention.head_count_kv"): u32(count(config, "num_key_value_heads")),
    }


def epsilon(architecture: str, config: Config, key: str) -> dict[str, Value]:
    """What the variances of norms are kept from zero by; the name of the key says which kind of norm it is."""
    kind = "layer_norm_rms_epsilon" if "rms" in key else "layer_norm_epsilon"
    return {f"{architecture}.attention.{kind}": f32(number(config, key))}


def head_widths(architecture: str, config: Config) -> dict[str, Value]:
    """How many columns a head has, where the config says so."""
    if config.get("head_dim") is None:
        return {}
    width = u32(count(config, "head_dim"))
    return {f"{architecture}.attention.key_length": width, f"{architecture}.attention.value_length": width}


def positions(architecture: str, config: Config, partly: bool = False) -> dict[str, Value]:
    """The `<architecture>.rope.*` keys but for the number of rotated columns, which not all may be if `partly`."""
    context = count(config, "max_position_embeddings")
    return rope.metadata(architecture, rope.parameters(config), context, partly)


def metadata(architecture: str, config: Config) -> dict[str, Value]:
    """The keys of a decoder as Llama is. Embedding models that look both ways say so."""
    one_way = {} if config.get("is_causal") is not False else {f"{architecture}.attention.causal": flag(False)}
    return {
        **dimensions(architecture, config),
        **one_way,
        **positions(architecture, config),
        **epsilon(architecture, config, "rms_norm_eps"),
        **head_widths(architecture, config),
    }


def tensors(
    slots: Slots,
    config: Config,
    stored: Sequence[Tensor],
    names: Names = LLAMA,
    sizes: Mapping[str, int] | None = None,
) -> list[Tensor]:
    """The stored tensors under their GGUF names. Raises as `place` does. `sizes` are words besides `sizes_of`.

    A model that shares its embedding with its output need store one of the two, one saved without a head no output.
    Where `slots` has no place for an output, llama.cpp takes the embedding, and a stored output is left out.
    """
    tied = switch(config, "tie_word_embeddings")
    words = {**sizes_of(config), **(sizes or {})}
    whole = with_embedding(stored, names.embedding, tied, names.prefix, names.head)
    if names.head not in slots:
        whole = [tensor for tensor in whole if tensor.name != names.head]
        return place(slots, words, whole, names.prefix)
    class_name = architecture_class(config)
    headless = bool(class_name) and not class_name.endswith(("ForCausalLM", "LMHeadModel"))
    head = replace(slots[names.head], optional=tied or headless)
    return place({**slots, names.head: head}, words, whole, names.prefix)


def with_output(placed: Sequence[Tensor]) -> list[Tensor]:
    """The tensors with the embedding once more as the output, where there is none and llama.cpp asks for one."""
    if any(tensor.name == _HEAD for tensor in placed):
        return list(placed)
    return [*placed, *(tensor.renamed(_HEAD) for tensor in placed if tensor.name == _EMBEDDING)]


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


def sizes_of(config: Config) -> dict[str, int]:
    """The words of shapes, in numbers."""
    heads, key_heads = count(config, "num_attention_heads"), count(config, "num_key_value_heads")
    head = head_dim(config)
    return {
        "layers": count(config, "num_hidden_layers"),
        "context": count(config, "max_position_embeddings"),
        "vocabulary": count(config, "vocab_size"),
        "hidden": count(config, "hidden_size"),
        "feed_forward": count(config, "intermediate_size"),
        "heads": heads,
        "key_heads": key_heads,
        "head": head,
        "queries": heads * head,
        "keys": key_heads * head,
        "queries_keys_values": (heads + 2 * key_heads) * head,
        "gate_and_up": 2 * count(config, "intermediate_size"),
    }
