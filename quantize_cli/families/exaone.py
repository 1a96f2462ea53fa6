"""EXAONE 3 and 3.5: Llama under the names of GPT-2."""

from collections.abc import Sequence

from quantize_cli.families.decoder import decoder
from quantize_cli.families.decoder import llama as architecture
from quantize_cli.families.decoder.config import Config
from quantize_cli.families.decoder.slots import HEAD, Slot
from quantize_cli.formats.gguf.layout import Value, u32
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = "exaone"
CLASS = "Exaone"
TOKENIZERS = ("bpe",)
DEFAULTS = {
    "vocab_size": 102400,
    "hidden_size": 2048,
    "intermediate_size": None,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
}
"""What ExaoneConfig of its checkpoints fills in."""
ALIASES = {
    "num_layers": "num_hidden_layers",
    "layer_norm_epsilon": "rms_norm_eps",
    "activation_function": "hidden_act",
    "embed_dropout": "embedding_dropout",
}

_NAMES = decoder.Names("transformer.", "wte.weight")
PREFIX = _NAMES.prefix
SLOTS = {
    "wte.weight": decoder.EMBEDDING["embed_tokens.weight"],
    "ln_f.weight": Slot("output_norm.weight", ("hidden",)),
    HEAD: decoder.EMBEDDING[HEAD],
    "h.{}.ln_1.weight": Slot("blk.{}.attn_norm.weight", ("hidden",)),
    "h.{}.attn.attention.q_proj.weight": Slot("blk.{}.attn_q.weight", ("queries", "hidden")),
    "h.{}.attn.attention.k_proj.weight": Slot("blk.{}.attn_k.weight", ("keys", "hidden")),
    "h.{}.attn.attention.v_proj.weight": Slot("blk.{}.attn_v.weight", ("keys", "hidden")),
    "h.{}.attn.attention.out_proj.weight": Slot("blk.{}.attn_output.weight", ("hidden", "queries")),
    "h.{}.ln_2.weight": Slot("blk.{}.ffn_norm.weight", ("hidden",)),
    "h.{}.mlp.c_fc_0.weight": Slot("blk.{}.ffn_gate.weight", ("feed_forward", "hidden")),
    "h.{}.mlp.c_fc_1.weight": Slot("blk.{}.ffn_up.weight", ("feed_forward", "hidden")),
    "h.{}.mlp.c_proj.weight": Slot("blk.{}.ffn_down.weight", ("hidden", "feed_forward")),
}


def metadata(config: Config) -> dict[str, Value]:
    return {
        **decoder.metadata(ARCHITECTURE, config),
        "exaone.rope.dimension_count": u32(decoder.head_dim(config)),
    }


def tensors(config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    return [*architecture.rotary_tensors(config), *decoder.tensors(SLOTS, config, stored, _NAMES)]


def remarks(config: Config, placed: Sequence[Tensor]) -> tuple[str, ...]:
    return decoder.remarks(ARCHITECTURE, config, placed, DEFAULTS, {})
