"""What RoBERTa and its descendants share: BERT whose positions begin behind that of padding."""

from collections.abc import Collection, Sequence

from quantize_cli.errors import InputError
from quantize_cli.families.decoder.config import Config, count, number
from quantize_cli.families.encoder import encoder
from quantize_cli.formats.checkpoint import Checkpoint
from quantize_cli.formats.gguf.layout import Value
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = "bert"
FIXED, SLOTS = encoder.FIXED, encoder.SLOTS
PREFIX = "roberta."


def metadata(config: Config) -> dict[str, Value]:
    return encoder.metadata(ARCHITECTURE, config, positions_after_padding(config)[1])


def tokenizer_metadata(_checkpoint: Checkpoint, config: Config) -> dict[str, Value]:
    return encoder.token_types(config)


def tensors(config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    first, positions = positions_after_padding(config)
    placed = encoder.tensors(config, stored, PREFIX)
    return [tensor.row_range(first, positions) if tensor.name == encoder.POSITIONS else tensor for tensor in placed]


def remarks(defaults: Collection[str], config: Config, _placed: Sequence[Tensor]) -> tuple[str, ...]:
    return encoder.remarks(ARCHITECTURE, config, defaults)


def positions_after_padding(config: Config) -> tuple[int, int]:
    """The first position of a text's tokens, which that of padding comes before, and how many there are from there."""
    stored, padding = count(config, "max_position_embeddings"), config.get("pad_token_id")
    if padding is None:
        return 0, stored
    first = int(number(config, "pad_token_id")) + 1
    if not 0 <= first < stored:
        raise InputError(f"config.json: position {first}, behind that of padding, is not among {stored}")
    return first, stored - first
