"""BERT: an encoder with learned positions, types of tokens, and a norm behind each addition."""

from collections.abc import Sequence

from quantize_cli.families.decoder.config import Config, count
from quantize_cli.families.encoder import encoder
from quantize_cli.formats.checkpoint import Checkpoint
from quantize_cli.formats.gguf.layout import Value
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = "bert"
CLASS = "Bert"
TOKENIZERS = ("wordpiece",)
DEFAULTS = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
    "tie_word_embeddings": True,
}
"""What transformers' BertConfig fills in."""
FIXED = encoder.FIXED
SLOTS = encoder.SLOTS
PREFIX = "bert."


def metadata(config: Config) -> dict[str, Value]:
    return encoder.metadata(ARCHITECTURE, config, count(config, "max_position_embeddings"))


def tokenizer_metadata(_checkpoint: Checkpoint, config: Config) -> dict[str, Value]:
    return encoder.token_types(config)


def tensors(config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    return encoder.tensors(config, stored, PREFIX)


def remarks(config: Config, _placed: Sequence[Tensor]) -> tuple[str, ...]:
    return encoder.remarks(ARCHITECTURE, config, DEFAULTS)
