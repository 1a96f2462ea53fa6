"""llama.cpp's `llama` architecture, which several model types become: tensors, metadata and tokenizer keys."""

from collections.abc import Sequence

from formats.checkpoint import Checkpoint
from formats.gguf.layout import Value, flag, u32
from quantize_cli.models import _decoder, _rope
from quantize_cli.models._config import Config, count
from quantize_cli.models._slots import optional
from quantize_cli.tensor import Tensor, from_array

ARCHITECTURE = "llama"

_BIASES = {**_decoder.ATTENTION_BIASES, **_decoder.OUTPUT_BIAS, **_decoder.FEED_FORWARD_BIASES}
_SLOTS = _decoder.with_adjacent_pairs(
    {**_decoder.EMBEDDING, **_decoder.ATTENTION, **_decoder.FEED_FORWARD, **optional(_BIASES)}
)
_CODE_LLAMA_VOCABULARY = 32016
_CODE_LLAMA_END_OF_TURN = 32010
_GRANITE_VOCABULARY = 49152


def metadata(config: Config) -> dict[str, Value]:
    """`config` is complete."""
    return {
        **_decoder.metadata(ARCHITECTURE, config),
        "llama.vocab_size": u32(count(config, "vocab_size")),
        "llama.rope.dimension_count": u32(_decoder.head_dim(config)),
    }


def tensors(config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    """`config` is complete. Llama 3's frequency factors come first, as a tensor computed here."""
    placed = _decoder.tensors(_SLOTS, config, stored)
    factors = _rope.frequency_factors(_rope.parameters(config), _decoder.head_dim(config))
    return placed if factors is None else [from_array("rope_freqs.weight", factors), *placed]


def tokenizer_metadata(checkpoint: Checkpoint, config: Config) -> dict[str, Value]:
    """Keys that depend on the model as well as on its tokenizer's files."""
    found = {}
    prefix_space = (checkpoint.json("tokenizer_config.json") or {}).get("add_prefix_space")
    if prefix_space is not None:
        found["tokenizer.ggml.add_space_prefix"] = flag(prefix_space)
    if config.get("vocab_size") == _CODE_LLAMA_VOCABULARY:
        found["tokenizer.ggml.eot_token_id"] = u32(_CODE_LLAMA_END_OF_TURN)
    if config.get("vocab_size") == _GRANITE_VOCABULARY:
        # Granite's small models state a beginning they were not trained with; SmolLM has the same size.
        found["tokenizer.ggml.add_bos_token"] = flag(False)
    return found
