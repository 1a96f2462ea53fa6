"""OLMo 3: OLMo 2 with a window in three layers of four."""

from collections.abc import Sequence

from quantize_cli.families.decoder import decoder, olmo2, rope, windows
from quantize_cli.families.decoder.config import Config, count
from quantize_cli.formats.gguf.layout import Value, ValueType, array, f32, u32
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = olmo2.ARCHITECTURE
CLASS = "Olmo3"
TOKENIZERS = ("bpe",)
DEFAULTS = {**olmo2.DEFAULTS, "rope_theta": 500000.0, "sliding_window": 4096}
"""What transformers' Olmo3Config fills in."""
_PERIOD = 4

PREFIX, SLOTS = olmo2.PREFIX, olmo2.SLOTS
tensors = olmo2.tensors


def metadata(config: Config) -> dict[str, Value]:
    base = rope.local_base(config, rope.parameters(config)["rope_theta"])
    return {
        **decoder.metadata(ARCHITECTURE, config),
        "olmo2.attention.sliding_window": u32(count(config, "sliding_window")),
        "olmo2.attention.sliding_window_pattern": array(ValueType.BOOL, windows.layers(config, _PERIOD)),
        "olmo2.rope.freq_base_swa": f32(base),
    }


def remarks(config: Config, placed: Sequence[Tensor]) -> tuple[str, ...]:
    return decoder.remarks(ARCHITECTURE, config, placed, {*DEFAULTS, *windows.KEYS}, olmo2.FIXED)
