"""XLM-RoBERTa: RoBERTa with the unigram tokenizer of many languages."""

from collections.abc import Sequence

from quantize_cli.families.decoder.config import Config
from quantize_cli.families.encoder import encoder
from quantize_cli.formats.checkpoint import Checkpoint
from quantize_cli.formats.gguf.layout import Value
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = "bert"
CLASS = "XLMRoberta"
TOKENIZERS = ("unigram",)
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
    "pad_token_id": 1,
    "tie_word_embeddings": True,
}
"""What transformers' XLMRobertaConfig fills in."""
FIXED = encoder.FIXED
SLOTS = encoder.SLOTS
PREFIX = "roberta."


def metadata(config: Config) -> dict[str, Value]:
    return encoder.metadata(ARCHITECTURE, config, encoder.positions_after_padding(config)[1])


def tokenizer_metadata(_checkpoint: Checkpoint, config: Config) -> dict[str, Value]:
    return encoder.token_types(config)


def tensors(config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    first, count = encoder.positions_after_padding(config)
    placed = encoder.tensors(config, stored, PREFIX)
    return [tensor.row_range(first, count) if tensor.name == encoder.POSITIONS else tensor for tensor in placed]


def remarks(config: Config, _placed: Sequence[Tensor]) -> tuple[str, ...]:
    return encoder.remarks(ARCHITECTURE, config, DEFAULTS)
