"""What a GGUF file's metadata says about the computation, checked: nothing is assumed that would change a result.

What the families fix is in `family`; everything else is read from the file. Sources: llama.cpp's src/models/*.cpp and
the defaults of llama_model_base::load_hparams.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from quantize_cli.errors import InputError
from quantize_cli.formats.gguf import scalars
from quantize_cli.formats.gguf.layout import Value, ValueType
from quantize_cli.formats.quoted import quoted
from quantize_cli.model.tensor import Tensor
from quantize_cli.runtime.adjustments import Adjustments, read_adjustments
from quantize_cli.runtime.family import FAMILIES, Experts, Family


class HasMetadata(Protocol):
    """What the runtime needs of a model: where it is from, what it says, what it holds."""

    @property
    def path(self) -> Path: ...

    @property
    def metadata(self) -> Mapping[str, Value]: ...

    @property
    def tensors(self) -> Sequence[Tensor]: ...


@dataclass(frozen=True)
class ExpertSettings:
    """A mixture of experts, in sizes."""

    family: Experts
    count: int
    used: int
    """Experts a token is sent to."""
    feed_forward: int
    shared_feed_forward: int
    """Of the expert that sees every token; 0 where there is none."""


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
    score_scale: float
    """What products of queries and keys are multiplied by."""
    score_cap: float
    logit_cap: float
    """Scores and logits are bent to stay below these; 0 if they are left alone."""
    windows: tuple[int, ...]
    """Per layer, the last positions it attends to; 0 for all."""
    mixing: ExpertSettings | None
    adjustments: Adjustments
    rotated: tuple[bool, ...]
    """Per layer, whether queries and keys are rotated."""
    parallel: bool
    """Attention and feed-forward read the same stream, where both have norms of their own."""
    causal: bool = True
    """A position attends to none after it."""


_MOST_EXPERTS = 512
"""As many as llama.cpp has room for (LLAMA_MAX_EXPERTS)."""
_HIGHEST_CAP = 1e9
_FLAGS = (ValueType.BOOL, ValueType.INT8, ValueType.UINT8, ValueType.INT32, ValueType.UINT32)


def read_hyperparameters(model: HasMetadata) -> Hyperparameters:
    """The sizes in the metadata; InputError naming an architecture or setting the runtime does not know.

    FormatError for a key that is missing, or whose value is not of the kind or in the range it must be.
    """
    architecture = string(model, "general.architecture")
    if architecture not in FAMILIES:
        raise InputError(
            f"{model.path}: cannot run architecture {quoted(architecture)}",
            hint="known: " + ", ".join(sorted(FAMILIES)),
        )
    family = FAMILIES[architecture]
    _refuse_unsupported(model, architecture)
    # Each layer has tensors of its own: no more are believed, and no more are made room for.
    layers = integer(model, f"{architecture}.block_count", highest=max(1, len(model.tensors)))
    width = integer(model, f"{architecture}.embedding_length")
    heads = integer(model, f"{architecture}.attention.head_count")
    head_width = _head_width(model, architecture, width, heads)
    key_value_heads = integer(model, f"{architecture}.attention.head_count_kv", heads)
    if heads % key_value_heads:
        raise InputError(f"{model.path}: {heads} heads cannot share {key_value_heads} key-value heads evenly")
    feed_forward = integer(model, f"{architecture}.feed_forward_length")
    norm = "layer_norm_epsilon" if family.layer_norms else "layer_norm_rms_epsilon"
    windows = _windows(model, architecture, layers)
    return Hyperparameters(
        family=family,
        layers=layers,
        width=width,
        heads=heads,
        key_value_heads=key_value_heads,
        head_width=head_width,
        feed_forward=feed_forward,
        context=integer(model, f"{architecture}.context_length"),
        epsilon=number(model, f"{architecture}.attention.{norm}", lowest=0.0, highest=1.0),
        score_scale=_score_scale(model, architecture, layers, head_width),
        score_cap=_cap(model, f"{architecture}.attn_logit_softcapping", family.score_cap),
        logit_cap=_cap(model, f"{architecture}.final_logit_softcapping", family.logit_cap),
        windows=windows,
        mixing=_mixing(model, architecture, feed_forward),
        adjustments=read_adjustments(model.path, model.metadata, architecture, family),
        rotated=tuple(_rotates(family, layer, window) for layer, window in enumerate(windows)),
        parallel=family.parallel_stated
        and scalars.boolean(f"{model.path}: ", model.metadata, f"{architecture}.use_parallel_residual", True),
        causal=_is_causal(model, architecture),
    )


def _score_scale(model: HasMetadata, architecture: str, layers: int, head_width: int) -> float:
    """What the file says where its family may, else the root of the columns that the family divides by."""
    family, key = FAMILIES[architecture], f"{architecture}.attention.scale"
    stated = number(model, key, 0.0, 0.0, _HIGHEST_CAP) if "attention.scale" in family.heeded else 0.0
    if stated:
        return stated
    if layers != family.layers_of_largest:
        return float(head_width**-0.5)
    width, heads = (integer(model, f"{architecture}.{name}") for name in ("embedding_length", "attention.head_count"))
    return float(_equal_share(model, width, heads) ** -0.5)


def _rotates(family: Family, layer: int, window: int) -> bool:
    if family.window is not None and family.window.alone_rotates:
        return window > 0
    return not family.unrotated_period or (layer + 1) % family.unrotated_period != 0


def _head_width(model: HasMetadata, architecture: str, width: int, heads: int) -> int:
    """Columns of a head: what the file says, else an equal share of the width."""
    key = f"{architecture}.attention.key_length"
    return integer(model, key) if key in model.metadata else _equal_share(model, width, heads)


def _equal_share(model: HasMetadata, width: int, heads: int) -> int:
    if width % heads:
        raise InputError(f"{model.path}: {width} columns cannot be shared by {heads} heads evenly")
    return width // heads


def longest_context(model: HasMetadata) -> int:
    """Positions a model is made for: those it was trained on, or what YaRN stretches the original ones to.

    Most files state the stretched number as what the model was trained on, some both numbers it is the product of.
    """
    trained = read_hyperparameters(model).context
    prefix = f"{string(model, 'general.architecture')}.rope.scaling"
    if string(model, f"{prefix}.type", "none") != "yarn":
        return trained
    original = integer(model, f"{prefix}.original_context_length", 0, least=0)
    return max(trained, int(original * number(model, f"{prefix}.factor", 1.0)))


def _cap(model: HasMetadata, key: str, default: float) -> float:
    return number(model, key, default, lowest=0.0, highest=_HIGHEST_CAP)


def _windows(model: HasMetadata, architecture: str, layers: int) -> tuple[int, ...]:
    """Per layer the positions it attends to, by the family's rule or the pattern the file states."""
    rule = FAMILIES[architecture].window
    if rule is None:
        return (0,) * layers
    window = integer(model, f"{architecture}.attention.sliding_window", rule.default, least=0)
    key = f"{architecture}.attention.sliding_window_pattern"
    value = model.metadata.get(key)
    if value is not None and value.type is ValueType.ARRAY:
        if len(value.data) != layers:
            raise InputError(f"{model.path}: metadata key '{key}' has {len(value.data)} entries for {layers} layers")
        if value.element not in _FLAGS:
            raise InputError(f"{model.path}: metadata key '{key}' is {scalars.value_text(value)}, not of flags")
        local = [bool(flag) for flag in value.data]
    else:
        period = integer(model, key, rule.period, least=0)
        whole = 0 if rule.whole_first else period - 1
        local = [period == 0 or layer % period != whole for layer in range(layers)]
    return tuple(window if windowed else 0 for windowed in local)


def _mixing(model: HasMetadata, architecture: str, feed_forward: int) -> ExpertSettings | None:
    """The mixture of experts, if there is one; a width that the file lacks is llama.cpp's default."""
    family = FAMILIES[architecture].experts
    count = integer(model, f"{architecture}.expert_count", 0, least=0, highest=_MOST_EXPERTS)
    if family is None or (count == 0 and not family.required):
        return None
    used = integer(model, f"{architecture}.expert_used_count")
    if used > count:
        raise InputError(f"{model.path}: {used} of {count} experts cannot be used")
    inner = feed_forward
    if family.own_width:
        inner = integer(model, f"{architecture}.expert_feed_forward_length", max(1, feed_forward // used))
    shared, key = 0, f"{architecture}.expert_shared_feed_forward_length"
    if family.shared:
        shared = integer(model, key, feed_forward)
    elif family.shared_ungated:
        shared = integer(model, key, 0, least=0)
    return ExpertSettings(family, count, used, inner, shared)


_NEUTRAL: dict[str, tuple[float, ...]] = {
    "nextn_predict_layers": (0,),
    "expert_group_count": (0, 1),
    "expert_gating_func": (0, 1),
    "expert_weights_scale": (0.0, 1.0),
    "attention.clamp_kqv": (0.0,),
    "attention.max_alibi_bias": (0.0,),
    "attention.scale": (0.0,),
    "embedding_scale": (0.0, 1.0),
    "residual_scale": (0.0, 1.0),
    "logit_scale": (0.0, 1.0),
    "rope.scaling.alpha": (0.0,),
    "rope.scaling.yarn_log_multiplier": (0.0,),
    "rope.scaling.yarn_ext_factor": (1.0,),
    "rope.scaling.yarn_attn_factor": (1.0,),
    "rope.scaling.yarn_beta_fast": (32.0,),
    "rope.scaling.yarn_beta_slow": (1.0,),
}
"""Settings other architectures heed and these do not, with the values that ask for nothing."""
_WINDOWED_TWINS = ("attention.key_length_swa", "attention.value_length_swa", "rope.dimension_count_swa")


def _refuse_unsupported(model: HasMetadata, architecture: str) -> None:
    """Settings that would make another computation than the one this runtime knows."""
    neutral: dict[str, tuple[float, ...]] = dict(_NEUTRAL)
    family = FAMILIES[architecture]
    if family.experts is None:
        neutral["expert_count"] = (0,)
    if not family.score_cap:
        neutral["attn_logit_softcapping"] = (0.0,)
    if family.window is None:
        neutral |= {"rope.freq_base_swa": (), "final_logit_softcapping": (0.0,)}
    for key in family.heeded:
        neutral.pop(key, None)
    for key, values in neutral.items():
        value = model.metadata.get(f"{architecture}.{key}")
        if value is not None and (value.type is ValueType.ARRAY or value.data not in values):
            text = scalars.value_text(value)
            raise InputError(f"{model.path}: cannot run a model whose '{architecture}.{key}' is {text}")
    if not family.encoder and not _is_causal(model, architecture):
        raise InputError(f"{model.path}: cannot run a model whose '{architecture}.attention.causal' is false")
    _refuse_unequal_widths(model, architecture)


def _is_causal(model: HasMetadata, architecture: str) -> bool:
    return scalars.boolean(f"{model.path}: ", model.metadata, f"{architecture}.attention.causal", True)


def _refuse_unequal_widths(model: HasMetadata, architecture: str) -> None:
    value_width = integer(model, f"{architecture}.attention.value_length", 0, least=0)
    key_width = integer(model, f"{architecture}.attention.key_length", 0, least=0)
    if value_width != key_width:
        raise InputError(f"{model.path}: cannot run heads of {key_width} key and {value_width} value columns")
    for key in _WINDOWED_TWINS:
        if f"{architecture}.{key}" in model.metadata:
            plain = key.removesuffix("_swa")
            everywhere = integer(model, f"{architecture}.{plain}", 0, least=0)
            windowed = integer(model, f"{architecture}.{key}")
            if windowed != everywhere:
                raise InputError(f"{model.path}: '{architecture}.{key}' is {windowed}, elsewhere {everywhere}")


def integer(
    model: HasMetadata, key: str, default: int | None = None, least: int = 1, highest: int = scalars.MAX_INTEGER
) -> int:
    """A metadata value that is one integer from `least` to `highest`; FormatError when it is not.

    A key that is missing gives the default; without one, FormatError.
    """
    return scalars.integer(f"{model.path}: ", model.metadata, key, default, least, highest)


def number(
    model: HasMetadata,
    key: str,
    default: float | None = None,
    lowest: float = -scalars.MAX_NUMBER,
    highest: float = scalars.MAX_NUMBER,
) -> float:
    """A metadata value that is one number from `lowest` to `highest`; FormatError when it is not, or as above."""
    return scalars.number(f"{model.path}: ", model.metadata, key, default, lowest, highest)


def string(model: HasMetadata, key: str, default: str | None = None) -> str:
    """A metadata value that is a string; FormatError when it is not, or as above."""
    return scalars.string(f"{model.path}: ", model.metadata, key, default)
