"""OLMo 2: norms behind attention and feed-forward rather than before them, and over all queries and all keys."""

from collections.abc import Sequence

from quantize_cli.families.decoder import decoder
from quantize_cli.families.decoder import olmo2 as architecture
from quantize_cli.families.decoder.config import Config
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = architecture.ARCHITECTURE
CLASS = "Olmo2"
TOKENIZERS = ("bpe",)
DEFAULTS = architecture.DEFAULTS
PREFIX, SLOTS = architecture.PREFIX, architecture.SLOTS
metadata = architecture.metadata
tensors = architecture.tensors


def remarks(config: Config, placed: Sequence[Tensor]) -> tuple[str, ...]:
    return decoder.remarks(ARCHITECTURE, config, placed, DEFAULTS, architecture.FIXED)
