"""What BERT and its descendants share: slots for their tensors, and the metadata that describes them."""

import re
from collections.abc import Collection, Sequence

from quantize_cli.errors import InputError
from quantize_cli.families.decoder import keys
from quantize_cli.families.decoder.config import Config, count, number
from quantize_cli.families.decoder.keys import Fixed
from quantize_cli.families.decoder.slots import Slot, Slots, biases, place
from quantize_cli.formats.gguf.layout import Value, f32, flag, u32
from quantize_cli.model.tensor import Tensor

POSITIONS = "position_embd.weight"
_LAYER = "encoder.layer.{}."
_EMBEDDINGS = {
    "embeddings.word_embeddings.weight": Slot("token_embd.weight", ("vocabulary", "hidden")),
    "embeddings.position_embeddings.weight": Slot(POSITIONS, ("positions", "hidden")),
    "embeddings.token_type_embeddings.weight": Slot("token_types.weight", ("types", "hidden")),
}
_WITH_BIASES = {
    "embeddings.LayerNorm.weight": Slot("token_embd_norm.weight", ("hidden",)),
    f"{_LAYER}attention.self.query.weight": Slot("blk.{}.attn_q.weight", ("hidden", "hidden")),
    f"{_LAYER}attention.self.key.weight": Slot("blk.{}.attn_k.weight", ("hidden", "hidden")),
    f"{_LAYER}attention.self.value.weight": Slot("blk.{}.attn_v.weight", ("hidden", "hidden")),
    f"{_LAYER}attention.output.dense.weight": Slot("blk.{}.attn_output.weight", ("hidden", "hidden")),
    f"{_LAYER}attention.output.LayerNorm.weight": Slot("blk.{}.attn_output_norm.weight", ("hidden",)),
    f"{_LAYER}intermediate.dense.weight": Slot("blk.{}.ffn_up.weight", ("feed_forward", "hidden")),
    f"{_LAYER}output.dense.weight": Slot("blk.{}.ffn_down.weight", ("hidden", "feed_forward")),
    f"{_LAYER}output.LayerNorm.weight": Slot("blk.{}.layer_output_norm.weight", ("hidden",)),
}
SLOTS: Slots = {**_EMBEDDINGS, **_WITH_BIASES, **biases(_WITH_BIASES)}
FIXED: Fixed = {
    "hidden_act": (keys.EXACT_GELU, *keys.TANH_GELU),
    "position_embedding_type": ("absolute",),
    "is_decoder": (False,),
}
_UNUSED = ("cls.predictions.", "cls.seq_relationship.", "lm_head.", "pooler.dense.", "embeddings.position_ids")
"""Heads for what the model was trained on, which embeddings do not pass through, and a buffer."""
_OLD_NAMES = (("gamma", "weight"), ("beta", "bias"))
"""Of the weights of norms in checkpoints that were made with TensorFlow."""
_CONVERTED = ("type_vocab_size", "layer_norm_eps", "position_embedding_type")


def metadata(architecture: str, config: Config, positions: int) -> dict[str, Value]:
    """The keys of an encoder with so many `positions`."""
    values = {
        "block_count": u32(count(config, "num_hidden_layers")),
        "context_length": u32(positions),
        "embedding_length": u32(count(config, "hidden_size")),
        "feed_forward_length": u32(count(config, "intermediate_size")),
        "attention.head_count": u32(count(config, "num_attention_heads")),
        "attention.layer_norm_epsilon": f32(number(config, "layer_norm_eps")),
        "attention.causal": flag(False),
    }
    return {f"{architecture}.{key}": value for key, value in values.items()}


def token_types(config: Config) -> dict[str, Value]:
    """The number of types of tokens, which llama.cpp looks for among the keys of the tokenizer."""
    return {"tokenizer.ggml.token_type_count": u32(count(config, "type_vocab_size"))}


def tensors(config: Config, stored: Sequence[Tensor], prefix: str) -> list[Tensor]:
    """The stored tensors under their GGUF names, without heads. Raises as `place` does."""
    used = []
    for tensor in stored:
        if tensor.name.removeprefix(prefix).startswith(_UNUSED):
            continue
        name = tensor.name
        for old, new in _OLD_NAMES:
            name = re.sub(rf"\.{old}$", f".{new}", name)
        used.append(tensor if name == tensor.name else tensor.renamed(name))
    return place(SLOTS, sizes_of(config), used, prefix)


def sizes_of(config: Config) -> dict[str, int]:
    """The words of shapes, in numbers."""
    return {
        "layers": count(config, "num_hidden_layers"),
        "vocabulary": count(config, "vocab_size"),
        "positions": count(config, "max_position_embeddings"),
        "types": count(config, "type_vocab_size"),
        "hidden": count(config, "hidden_size"),
        "feed_forward": count(config, "intermediate_size"),
    }


def remarks(architecture: str, config: Config, defaults: Collection[str]) -> tuple[str, ...]:
    """Warnings for what the file will lack; InputError for a key that llama.cpp has no place for."""
    refuse_uneven_heads(config)
    unknown = keys.check(config, architecture, {*defaults, *_CONVERTED}, FIXED)
    return *unknown, *keys.approximated_gelu(config, "hidden_act")


def refuse_uneven_heads(config: Config) -> None:
    """InputError for heads that do not have equally many columns."""
    if count(config, "hidden_size") % count(config, "num_attention_heads"):
        raise InputError(
            f"config.json: {config['num_attention_heads']} heads do not share {config['hidden_size']} columns evenly"
        )
