"""What Llama and its descendants share: slots for their tensors, and the metadata that describes them."""

from collections.abc import Sequence
from dataclasses import replace

from formats.gguf.layout import Value, f32, flag, u32
from quantize_cli.models import _rope
from quantize_cli.models._config import Config, architecture_class, count, number
from quantize_cli.models._slots import Slot, Slots, place
from quantize_cli.tensor import Tensor

EMBEDDING = {
    "embed_tokens.weight": Slot("token_embd.weight", ("vocabulary", "hidden")),
    "norm.weight": Slot("output_norm.weight", ("hidden",)),
    "lm_head.weight": Slot("output.weight", ("vocabulary", "hidden")),
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


def with_adjacent_pairs(slots: Slots) -> dict[str, Slot]:
    """The same slots, with rotary rows as llama.cpp's `llama` architecture has them: pairs adjacent, not in halves."""
    heads = {"q_proj": "heads", "k_proj": "key_heads"}
    return {
        name: replace(slot, rotary_heads=next((heads[part] for part in heads if f".{part}." in name), ""))
        for name, slot in slots.items()
    }


def metadata(architecture: str, config: Config) -> dict[str, Value]:
    """The keys every decoder here has; `config` is complete. Embedding models that look both ways say so."""
    key = architecture + ".{}"
    found = {
        key.format("block_count"): u32(count(config, "num_hidden_layers")),
        key.format("context_length"): u32(count(config, "max_position_embeddings")),
        key.format("embedding_length"): u32(count(config, "hidden_size")),
        key.format("feed_forward_length"): u32(count(config, "intermediate_size")),
        key.format("attention.head_count"): u32(count(config, "num_attention_heads")),
        key.format("attention.head_count_kv"): u32(count(config, "num_key_value_heads")),
    }
    if config.get("is_causal") is False:
        found[key.format("attention.causal")] = flag(False)
    found.update(_rope.metadata(architecture, _rope.parameters(config)))
    found[key.format("attention.layer_norm_rms_epsilon")] = f32(number(config, "rms_norm_eps"))
    if config.get("head_dim") is not None:
        found[key.format("attention.key_length")] = u32(count(config, "head_dim"))
        found[key.format("attention.value_length")] = u32(count(config, "head_dim"))
    return found


def tensors(slots: Slots, config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    """The stored tensors under their GGUF names; `config` is complete. Raises as `place` does.

    A model that shares its embedding with its output need not store the output, nor one saved without a head.
    """
    with_head = architecture_class(config).endswith("ForCausalLM") and not config.get("tie_word_embeddings")
    head = replace(slots["lm_head.weight"], optional=not with_head)
    return place({**slots, "lm_head.weight": head}, _sizes(config), stored, prefix="model.")


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
