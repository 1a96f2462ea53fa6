"""Which layers attend to a window of the last positions, as config.json says it and as a GGUF file does."""

from quantize_cli.errors import InputError
from quantize_cli.families.decoder.config import Config, count, spelled
from quantize_cli.formats.gguf.layout import Value, ValueType, array, u32

KEYS = ("sliding_window", "sliding_window_pattern", "layer_types")
_KINDS = {"sliding_attention": True, "full_attention": False}


def metadata(architecture: str, config: Config, period: int) -> dict[str, Value]:
    """The window, and which layers have it where that is not all but each `period`-th, as llama.cpp takes it."""
    if config.get("sliding_window") is None:
        return {}
    prefix = f"{architecture}.attention"
    entries = {f"{prefix}.sliding_window": u32(count(config, "sliding_window"))}
    windowed = layers(config, period)
    if windowed != _periodic(len(windowed), period):
        entries[f"{prefix}.sliding_window_pattern"] = array(ValueType.BOOL, windowed)
    return entries


def layers(config: Config, period: int) -> list[bool]:
    """Of each layer, whether it has a window; all but each `period`-th do unless the config says otherwise."""
    number, kinds = count(config, "num_hidden_layers"), config.get("layer_types")
    if kinds is None:
        stated = config.get("sliding_window_pattern") is not None
        return _periodic(number, count(config, "sliding_window_pattern") if stated else period)
    if not isinstance(kinds, list) or len(kinds) != number or not all(kind in _KINDS for kind in kinds):
        raise InputError(
            f"config.json: key 'layer_types' is {spelled(kinds)}, not one of {' or '.join(_KINDS)} for each of "
            f"{number} layers"
        )
    return [_KINDS[kind] for kind in kinds]


def _periodic(number: int, period: int) -> list[bool]:
    return [(layer + 1) % period != 0 for layer in range(number)]


def left_out(architecture: str, config: Config) -> tuple[str, ...]:
    """A warning where llama.cpp attends to all positions and the model was made to attend to a window of them."""
    if config.get("sliding_window") is None:
        return ()
    window, context = count(config, "sliding_window"), count(config, "max_position_embeddings")
    if window >= context:
        return ()
    return (
        f"config.json: key 'sliding_window' is {window}, llama.cpp's '{architecture}' attends to all of {context} "
        f"positions: the same up to {window} tokens",
    )
