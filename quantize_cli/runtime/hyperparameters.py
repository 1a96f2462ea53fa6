"""What a GGUF file's metadata says about the computation, checked: nothing is assumed that would change a result.

One table tells the families apart; everything else is read from the file. Sources: llama.cpp's src/models/*.cpp and
the defaults of llama_model_base::load_hparams.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from formats.gguf.layout import Value
from formats.quoted import quoted
from quantize_cli.errors import InputError
from quantize_cli.tensor import Tensor


class Described(Protocol):
    """What the runtime needs of a model: where it is from, what it says, what it holds."""

    @property
    def path(self) -> Path: ...

    @property
    def metadata(self) -> Mapping[str, Value]: ...

    @property
    def tensors(self) -> Sequence[Tensor]: ...


@dataclass(frozen=True)
class Family:
    """How an architecture differs from a plain decoder with RMS norms and a gated feed-forward."""

    rotates: bool = True
    adjacent_pairs: bool = False
    """Rotary pairs are neighbours (i, i + 1) rather than halves (i, i + width / 2)."""
    rotary_divisors: bool = False
    """The file may say what each pair's angle is divided by (`rope_freqs.weight`)."""
    head_norms: bool = False
    """Queries and keys are normed per head before they are rotated."""
    layer_norms: bool = False
    """Norms subtract the mean and add a bias."""
    gated: bool = True
    """silu(gate) * up, rather than gelu(up)."""
    learned_positions: bool = False


FAMILIES = {
    "llama": Family(adjacent_pairs=True, rotary_divisors=True),
    "qwen2": Family(),
    "qwen3": Family(head_norms=True),
    "gpt2": Family(rotates=False, layer_norms=True, gated=False, learned_positions=True),
}
"""By `general.architecture`. Mistral is stored as "llama": llama.cpp applies no sliding window there, nor do we."""


@dataclass(frozen=True)
class Hyperparameters:
    """The sizes of a decoder; a width is a number of columns."""

    family: Family
    layers: int
    width: int
    heads: int
    key_value_heads: int
    head_width: int
    feed_forward: int
    context: int
    """Positions it was trained on; a limit only where positions are learned."""
    epsilon: float


def read_hyperparameters(model: Described) -> Hyperparameters:
    """The sizes the metadata states; InputError naming an architecture or setting the runtime does not know."""
    architecture = text(model, "general.architecture")
    if architecture not in FAMILIES:
        raise InputError(
            f"{model.path}: cannot run architecture {quoted(architecture)}",
            hint="known: " + ", ".join(sorted(FAMILIES)),
        )
    family = FAMILIES[architecture]
    _refuse_unsupported(model, architecture)
    width = whole(model, f"{architecture}.embedding_length")
    heads = whole(model, f"{architecture}.attention.head_count")
    head_width = whole(model, f"{architecture}.attention.key_length", width // heads)
    key_value_heads = whole(model, f"{architecture}.attention.head_count_kv", heads)
    if heads % key_value_heads:
        raise InputError(f"{model.path}: {heads} heads cannot share {key_value_heads} key-value heads evenly")
    norm = "layer_norm_epsilon" if family.layer_norms else "layer_norm_rms_epsilon"
    return Hyperparameters(
        family=family,
        layers=whole(model, f"{architecture}.block_count"),
        width=width,
        heads=heads,
        key_value_heads=key_value_heads,
        head_width=head_width,
        feed_forward=whole(model, f"{architecture}.feed_forward_length"),
        context=whole(model, f"{architecture}.context_length"),
        epsilon=real(model, f"{architecture}.attention.{norm}"),
    )


def _refuse_unsupported(model: Described, architecture: str) -> None:
    """Settings llama.cpp would act on and this runtime does not."""
    for key in ("expert_count", "nextn_predict_layers"):
        if number := whole(model, f"{architecture}.{key}", 0, least=0):
            raise InputError(f"{model.path}: cannot run a model whose '{architecture}.{key}' is {number}")
    causal = model.metadata.get(f"{architecture}.attention.causal")
    if causal is not None and not causal.data:
        raise InputError(f"{model.path}: cannot run a model whose '{architecture}.attention.causal' is false")
    value_width = whole(model, f"{architecture}.attention.value_length", 0, least=0)
    key_width = whole(model, f"{architecture}.attention.key_length", 0, least=0)
    if value_width != key_width:
        raise InputError(f"{model.path}: cannot run heads of {key_width} key and {value_width} value columns")


def whole(model: Described, key: str, default: int | None = None, least: int = 1) -> int:
    """A metadata value that is one integer >= `least`; InputError when it is not, or missing without a default."""
    data = _data(model, key, default)
    if not isinstance(data, int) or isinstance(data, bool) or data < least:
        raise InputError(f"{model.path}: metadata key '{key}' is not one number of at least {least}")
    return data


def real(model: Described, key: str, default: float | None = None) -> float:
    """A metadata value that is one number; InputError when it is not, or missing without a default."""
    data = _data(model, key, default)
    if not isinstance(data, int | float) or isinstance(data, bool):
        raise InputError(f"{model.path}: metadata key '{key}' is not one number")
    return float(data)


def text(model: Described, key: str, default: str | None = None) -> str:
    """A metadata value that is a string; InputError when it is not, or missing without a default."""
    data = _data(model, key, default)
    if not isinstance(data, str):
        raise InputError(f"{model.path}: metadata key '{key}' is not a string")
    return data


def _data(model: Described, key: str, default: object) -> object:
    if key in model.metadata:
        return model.metadata[key].data
    if default is None:
        raise InputError(f"{model.path}: metadata key '{key}' is missing")
    return default
