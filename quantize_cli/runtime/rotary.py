"""Rotary position embedding as ggml computes it, with linear, YaRN and LongRoPE scaling."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, floor, log, pi

import numpy as np

from quantize_cli.errors import InputError
from quantize_cli.formats.quoted import quoted
from quantize_cli.jit.elementary import power, sine_and_cosine
from quantize_cli.runtime.hyperparameters import HasMetadata, Hyperparameters, integer, number, string

_LEAST_FACTOR, _LARGEST_FACTOR = 1e-6, 1e6
"""Far beyond any stretch of a context, and still numbers in float32 when inverted."""
_FAST, _SLOW = 32.0, 1.0
"""YaRN's beta: rotations over the original context above which a pair is left alone, below which it is squeezed."""


@dataclass(frozen=True)
class FrequencyFactors:
    """What each pair's angle is divided by, (rotated columns / 2,) f32, by the room a context has."""

    short: np.ndarray
    long: np.ndarray
    original: int
    """Positions up to which a context is short."""

    def of(self, room: int) -> np.ndarray:
        return self.long if room > self.original else self.short


@dataclass(frozen=True)
class Rotary:
    """How far each pair of a head turns per position."""

    base: float
    adjacent_pairs: bool
    divisors: FrequencyFactors
    scale: float
    """What positions are multiplied by: 1 / the scaling factor."""
    unscaled: np.ndarray
    """(rotated columns / 2,) f32: the share of each pair's angle that `scale` leaves alone (YaRN), else zeros."""
    magnitude: float
    """What the rotated vector is multiplied by."""

    def turns(self, positions: np.ndarray, room: int) -> np.ndarray:
        """Positions (n,) of a context of `room` -> (n, pairs) complex64: the number each pair is multiplied by.

        Angles are multiplied up pair by pair in float32, as ggml does: with angles computed directly, logits over
        4,096 positions differed from its by up to 4e-3 instead of 7e-5.
        """
        pairs = self.unscaled.size
        factors = np.full((positions.size, pairs), self._step, np.float32)
        factors[:, 0] = positions
        angles = np.multiply.accumulate(factors, axis=1)
        angles /= self.divisors.of(room)
        squeezed = angles * np.float32(self.scale)
        angles = squeezed * (1 - self.unscaled) + angles * self.unscaled
        turns = np.empty(angles.shape, np.complex64)
        turns.imag, turns.real = sine_and_cosine(angles)
        turns *= np.float32(self.magnitude)
        return turns

    @cached_property
    def _step(self) -> np.ndarray:
        """What the angle of a pair is multiplied by for that of the next."""
        step = power(np.array(np.float32(self.base)), float(np.float32(-1 / self.unscaled.size)))
        return step.astype(np.float32)


def _rotated_columns(model: HasMetadata, hyperparameters: Hyperparameters) -> int:
    """How many columns of a head turn; InputError when they are no pairs, or fewer than the family turns."""
    width = hyperparameters.head_width
    rotated = integer(model, f"{string(model, 'general.architecture')}.rope.dimension_count", width)
    if rotated > width or (rotated < width and not hyperparameters.family.partly_rotated):
        raise InputError(f"{model.path}: cannot rotate {rotated} of {width} columns of a head")
    if rotated % 2:
        raise InputError(f"{model.path}: cannot rotate pairs of a head's {rotated} columns")
    return rotated


def read_rotary(
    model: HasMetadata, hyperparameters: Hyperparameters, vector: Callable[[str, int], np.ndarray | None]
) -> Rotary:
    """The rotation the metadata asks for; InputError when it is one the runtime does not know.

    `vector` reads a tensor of a number of columns: the divisors for every context, or for short and for long ones.
    """
    prefix = f"{string(model, 'general.architecture')}.rope"
    pairs, family = _rotated_columns(model, hyperparameters) // 2, hyperparameters.family
    kind = string(model, f"{prefix}.scaling.type", "linear")
    if kind not in ("none", "linear", "yarn") and not (kind == "longrope" and family.long_divisors):
        raise InputError(f"{model.path}: cannot run rotary scaling {quoted(kind)}", hint="known: none, linear, yarn")
    factor = number(model, f"{prefix}.scaling.factor", number(model, f"{prefix}.scale_linear", 0.0))
    if kind == "none" or factor == 0:
        factor = 1.0
    base = number(model, f"{prefix}.freq_base", 10000.0)
    _check_turning(model, base, factor)
    original = integer(model, f"{prefix}.scaling.original_context_length", hyperparameters.context)
    magnitude = number(model, f"{prefix}.scaling.attn_factor", 1.0, -_LARGEST_FACTOR, _LARGEST_FACTOR)
    if kind == "yarn":  # the paper's attention temperature, which is one when nothing is stretched
        magnitude *= 0.1 * log(factor) + 1 if factor > 1 else 1.0
    names = {"freqs": "rope_freqs"} if family.rotary_divisors else {}
    if family.long_divisors:
        names |= {"short": "rope_factors_short", "long": "rope_factors_long"}
    present = {key: vector(f"{name}.weight", pairs) for key, name in names.items()}
    factors = {key: divisors for key, divisors in present.items() if divisors is not None}
    for name, divisors in factors.items():
        if not ((divisors >= _LEAST_FACTOR) & (divisors <= _LARGEST_FACTOR)).all():
            raise InputError(f"{model.path}: angles cannot be divided by all of the {name} factors of rope")
    everywhere = factors.get("freqs", np.ones(pairs, np.float32))
    return Rotary(
        base=base,
        adjacent_pairs=family.adjacent_pairs,
        divisors=FrequencyFactors(factors.get("short", everywhere), factors.get("long", everywhere), original),
        scale=1 / factor,
        unscaled=_yarn_share(2 * pairs, base, original) if kind == "yarn" else np.zeros(pairs, np.float32),
        magnitude=magnitude,
    )


def read_local_rotary(model: HasMetadata, hyperparameters: Hyperparameters, everywhere: Rotary) -> Rotary:
    """How windowed layers rotate: as the others, or from another base, and then unscaled."""
    window = hyperparameters.family.window
    if window is None:
        return everywhere
    base = everywhere.base if window.local_base is None else window.local_base
    scale = everywhere.scale if window.local_base is None and window.scaled else 1.0
    base = number(model, f"{string(model, 'general.architecture')}.rope.freq_base_swa", base)
    _check_turning(model, base, 1 / scale)
    if everywhere.unscaled.any() and (base, scale) != (everywhere.base, everywhere.scale):
        raise InputError(f"{model.path}: cannot run rotary scaling 'yarn' beside layers that are not scaled")
    return replace(everywhere, base=base, scale=scale)


def _check_turning(model: HasMetadata, base: float, factor: float) -> None:
    if not (base > 1 and _LEAST_FACTOR <= factor <= _LARGEST_FACTOR):
        raise InputError(f"{model.path}: cannot rotate with base {base} and scaling factor {factor}")


def _yarn_share(width: int, base: float, original: int) -> np.ndarray:
    """Per pair, 1 where it turns often within the original context and 0 where rarely, with a ramp between.

    "YaRN: Efficient Context Window Extension", section 3.2; ggml_rope_yarn_corr_dims rounds the ramp's ends.
    """

    def pair_turning(rotations: float) -> float:
        return width * log(original / (rotations * 2 * pi)) / (2 * log(base))

    low = max(0, floor(pair_turning(_FAST)))
    high = min(width - 1, ceil(pair_turning(_SLOW)))
    ramp = (np.arange(width // 2) - low) / max(0.001, high - low)
    return (1 - np.clip(ramp, 0, 1)).astype(np.float32)
