"""llama.cpp's `llama` architecture, which several model types become: tensors, metadata and tokenizer keys."""

from collections.abc import Collection, Sequence

from quantize_cli.families.decoder import decoder, rope
from quantize_cli.families.decoder.config import Config, count
from quantize_cli.families.decoder.slots import optional
from quantize_cli.formats.checkpoint import Checkpoint
from quantize_cli.formats.gguf.layout import Value, flag, u32
from quantize_cli.model.tensor import Tensor, from_array

ARCHITECTURE = "llama"
PREFIX = decoder.PREFIX

_ATTENTION_BIASES = {**decoder.ATTENTION_BIASES, **decoder.OUTPUT_BIAS}
_BIASES = (_ATTENTION_BIASES, decoder.FEED_FORWARD_BIASES)
_UNBIASED = {**decoder.EMBEDDING, **decoder.ATTENTION, **decoder.FEED_FORWARD}
SLOTS = decoder.with_adjacent_pairs({**_UNBIASED, **optional({**_ATTENTION_BIASES, **decoder.FEED_FORWARD_BIASES})})
"""All there may be, biases too."""
_CODE_LLAMA_VOCABULARY = 32016
_CODE_LLAMA_END_OF_TURN = 32010
_GRANITE_VOCABULARY = 49152


def metadata(config: Config) -> dict[str, Value]:
    return {
        **decoder.metadata(ARCHITECTURE, config),
        "llama.vocab_size": u32(count(config, "vocab_size")),
        "llama.rope.dimension_count": u32(decoder.head_dim(config)),
    }


def tensors(config: Config, stored: Sequence[Tensor], biased: tuple[bool, bool] = (False, False)) -> list[Tensor]:
    """The divisors of rotary frequencies come first.

    `biased` says whether attention and feed-forward must have biases; what is stored of them is kept in any case.
    """
    slots = dict(_UNBIASED)
    for biases, required in zip(_BIASES, biased, strict=True):
        slots |= biases if required else optional(biases)
    placed = decoder.tensors(decoder.with_adjacent_pairs(slots), config, stored)
    return [*rotary_tensors(config), *placed]


def rotary_tensors(config: Config) -> list[Tensor]:
    """The divisors of rotary frequencies that Llama 3's and LongRoPE's scaling need, as tensors computed here."""
    width = decoder.head_dim(config)
    factors = rope.long_factors(config, width)
    frequencies = rope.frequency_factors(rope.parameters(config), width)
    if frequencies is not None:
        factors["rope_freqs.weight"] = frequencies
    return [from_array(name, values) for name, values in factors.items()]


def remarks(
    config: Config, placed: Sequence[Tensor], converted: Collection[str], biased: tuple[bool, bool] = (False, False)
) -> tuple[str, ...]:
    """Warnings as `_decoder.remarks` has them, and for biases that transformers would pass over."""
    left_out = [biases for biases, required in zip(_BIASES, biased, strict=True) if not required]
    unasked = [slot.target for biases in left_out for slot in biases.values()]
    return *decoder.remarks(ARCHITECTURE, config, placed, converted, {}), *decoder.unasked(placed, unasked)


def tokenizer_metadata(checkpoint: Checkpoint, config: Config) -> dict[str, Value]:
    """Keys that depend on the model as well as on its tokenizer's files."""
    entries = {}
    prefix_space = (checkpoint.json("tokenizer_config.json") or {}).get("add_prefix_space")
    if prefix_space is not None:
        entries["tokenizer.ggml.add_space_prefix"] = flag(prefix_space)
    if config.get("vocab_size") == _CODE_LLAMA_VOCABULARY:
        entries["tokenizer.ggml.eot_token_id"] = u32(_CODE_LLAMA_END_OF_TURN)
    if config.get("vocab_size") == _GRANITE_VOCABULARY:
        # Granite's small models state a beginning they were not trained with; SmolLM has the same size.
        entries["tokenizer.ggml.add_bos_token"] = flag(False)
    return entries
