"""InternLM 2 and 2.5: Llama with grouped queries, keys and values in one matrix."""

from collections.abc import Sequence

from quantize_cli.families.decoder import decoder
from quantize_cli.families.decoder.config import Config
from quantize_cli.families.decoder.slots import Slot
from quantize_cli.formats.checkpoint import Checkpoint
from quantize_cli.formats.gguf.layout import Value, flag
from quantize_cli.formats.sentencepiece_model import read_sentencepiece_model
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = "internlm2"
CLASS = "InternLM2"
TOKENIZERS = ("spm",)
DEFAULTS = {
    "vocab_size": 103168,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
}
"""What InternLM2Config of its checkpoints fills in."""
FIXED = {"bias": (False,)}
HEAD = "output.weight"

_NAMES = decoder.Names("model.", "tok_embeddings.weight", HEAD)
PREFIX = _NAMES.prefix
_PARTS = (
    Slot("blk.{}.attn_q.weight", ("queries", "hidden"), rotary_heads="heads"),
    Slot("blk.{}.attn_k.weight", ("keys", "hidden"), rotary_heads="key_heads"),
    Slot("blk.{}.attn_v.weight", ("keys", "hidden")),
)
SLOTS = {
    "tok_embeddings.weight": Slot("token_embd.weight", ("vocabulary", "hidden")),
    "norm.weight": Slot("output_norm.weight", ("hidden",)),
    HEAD: Slot("output.weight", ("vocabulary", "hidden")),
    "layers.{}.attention_norm.weight": Slot("blk.{}.attn_norm.weight", ("hidden",)),
    "layers.{}.attention.wqkv.weight": Slot(
        "blk.{}.attn_qkv.weight", ("queries_keys_values", "hidden"), fused_groups="key_heads", parts=_PARTS
    ),
    "layers.{}.attention.wo.weight": Slot("blk.{}.attn_output.weight", ("hidden", "queries")),
    "layers.{}.ffn_norm.weight": Slot("blk.{}.ffn_norm.weight", ("hidden",)),
    "layers.{}.feed_forward.w1.weight": Slot("blk.{}.ffn_gate.weight", ("feed_forward", "hidden")),
    "layers.{}.feed_forward.w2.weight": Slot("blk.{}.ffn_down.weight", ("hidden", "feed_forward")),
    "layers.{}.feed_forward.w3.weight": Slot("blk.{}.ffn_up.weight", ("feed_forward", "hidden")),
}


def metadata(config: Config) -> dict[str, Value]:
    return decoder.metadata(ARCHITECTURE, config)


def tensors(config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    return decoder.with_output(decoder.tensors(SLOTS, config, stored, _NAMES))


def tokenizer_metadata(checkpoint: Checkpoint, _config: Config) -> dict[str, Value]:
    """Whether a space is put before texts, said even where llama.cpp takes it so."""
    path = checkpoint.file("tokenizer.model")
    if path is None:
        return {}
    return {"tokenizer.ggml.add_space_prefix": flag(read_sentencepiece_model(path).adds_space)}


def remarks(config: Config, placed: Sequence[Tensor]) -> tuple[str, ...]:
    return decoder.remarks(ARCHITECTURE, config, placed, DEFAULTS, FIXED)
