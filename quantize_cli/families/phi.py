"""Phi 1, 1.5 and 2: attention and feed-forward side by side behind one norm, and biases everywhere."""

from collections.abc import Sequence

from quantize_cli.families.decoder import decoder, keys, rope
from quantize_cli.families.decoder.config import Config, count
from quantize_cli.families.decoder.slots import HEAD, Slot, biases
from quantize_cli.formats.checkpoint import Checkpoint
from quantize_cli.formats.gguf.layout import Value, flag, u32
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = "phi2"
CLASS = "Phi"
TOKENIZERS = ("bpe",)
DEFAULTS = {
    "vocab_size": 51200,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 24,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "max_position_embeddings": 2048,
    "partial_rotary_factor": 0.5,
    "hidden_act": "gelu_new",
    "layer_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}
"""What transformers' PhiConfig fills in."""


PREFIX = decoder.PREFIX
_PROJECTIONS = {name: slot for name, slot in decoder.ATTENTION.items() if ".o_proj." not in name}
_WEIGHTS = {
    **_PROJECTIONS,
    "layers.{}.self_attn.dense.weight": Slot("blk.{}.attn_output.weight", ("hidden", "queries")),
    "layers.{}.mlp.fc1.weight": Slot("blk.{}.ffn_up.weight", ("feed_forward", "hidden")),
    "layers.{}.mlp.fc2.weight": Slot("blk.{}.ffn_down.weight", ("hidden", "feed_forward")),
    "final_layernorm.weight": Slot("output_norm.weight", ("hidden",)),
}
SLOTS = {
    "embed_tokens.weight": decoder.EMBEDDING["embed_tokens.weight"],
    HEAD: decoder.EMBEDDING[HEAD],
    "lm_head.bias": Slot("output.bias", ("vocabulary",)),
    **_WEIGHTS,
    **biases(_WEIGHTS),
}


def metadata(config: Config) -> dict[str, Value]:
    rotated = rope.rotated(config, count(config, "hidden_size")) // count(config, "num_attention_heads")
    return {
        **decoder.dimensions(ARCHITECTURE, config),
        **rope.unless_usual(decoder.positions(ARCHITECTURE, config, partly=True)),
        "phi2.rope.dimension_count": u32(rotated),
        **decoder.epsilon(ARCHITECTURE, config, "layer_norm_eps"),
    }


def tensors(config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    return decoder.with_output(decoder.tensors(SLOTS, config, stored))


def tokenizer_metadata(_checkpoint: Checkpoint, _config: Config) -> dict[str, Value]:
    return {"tokenizer.ggml.add_bos_token": flag(False)}


def remarks(config: Config, placed: Sequence[Tensor]) -> tuple[str, ...]:
    fixed = {"hidden_act": (*keys.TANH_GELU, keys.EXACT_GELU)}
    return (
        *decoder.remarks(ARCHITECTURE, config, placed, DEFAULTS, fixed),
        *keys.approximated_gelu(config, "hidden_act"),
    )
