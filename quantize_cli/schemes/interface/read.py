"""A checkpoint's tensors, quantized ones under the names that they have as floats."""

from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache

from quantize_cli import plugins
from quantize_cli.errors import InputError
from quantize_cli.formats.checkpoint import Checkpoint
from quantize_cli.formats.quoted import quoted
from quantize_cli.formats.stored import StoredTensor
from quantize_cli.model.tensor import Tensor, from_stored
from quantize_cli.schemes.interface.scheme import Decoder, Group, Scheme, origin
from quantize_cli.schemes.interface.settings import Settings, describe, settings_of

_HINT = "convert the original checkpoint in f32, f16 or bf16"
_NOTICE = ": to round them again adds to the error they have, --type keep rounds least"
_CODES = frozenset(("I8", "U8", "I32", "F8_E4M3", "F8_E5M2", "F8_E8M0"))
"""Dtypes that no float checkpoint has."""
_FLOATS = frozenset(("F64", "F32", "F16", "BF16"))
_UNREAD = ((".weight._data", "quanto"),)
"""Ends of names that only schemes write that are not read."""


def tensors_of(checkpoint: Checkpoint, stored: Iterable[StoredTensor]) -> tuple[list[Tensor], tuple[str, ...]]:
    """The tensors that `stored` stand for, those of `checkpoint` or some of them, and what deserves a warning.

    InputError for a scheme that is not read, and for what contradicts its configuration or itself.
    """
    stored, settings = list(stored), settings_of(checkpoint)
    if not settings.values and all(map(_is_plain, stored)):
        return [from_stored(tensor) for tensor in stored], ()
    scheme = _scheme(settings, stored)
    if scheme is None:
        _refuse_unread(settings, stored)
        tensors = [from_stored(tensor) for tensor in stored]
    else:
        decode = scheme.decoder(settings)
        stored = [tensor for tensor in stored if not tensor.name.endswith(scheme.dropped)]
        tensors = [tensor for group in _groups(scheme, stored) for tensor in _taken(group, decode, settings)]
    schemes = sorted({tensor.scheme for tensor in tensors} - {""})
    if schemes:
        count = sum(bool(tensor.scheme) for tensor in tensors)
        how = ", ".join(schemes) if len(schemes) < 4 else f"{len(schemes)} kinds"
        return tensors, (
            f"{checkpoint.path}: {count} of {len(tensors)} tensors are quantized already ({how}){_NOTICE}",
        )
    if settings.values:
        told = f"{settings.where}: states that the weights are quantized with {describe(settings)}"
        return tensors, (f"{told}, but they are floats and taken as such",)
    return tensors, ()


@cache
def sources() -> tuple[type, ...]:
    """The classes of all schemes' row sources."""
    return tuple(source for name in plugins.names("schemes") for source in _load(name).sources)


def _is_plain(stored: StoredTensor) -> bool:
    """Whether no scheme has such tensors: of these checkpoints none needs to be loaded."""
    return stored.dtype in _FLOATS and stored.name.endswith((".weight", ".bias"))


def _load(name: str) -> Scheme:
    scheme: Scheme = plugins.load("schemes", name).SCHEME
    return scheme


def _scheme(settings: Settings, stored: list[StoredTensor]) -> Scheme | None:
    """The scheme that the configuration names, or the tensors show."""
    schemes = [_load(name) for name in plugins.names("schemes")]
    if settings.method:
        return next((scheme for scheme in schemes if settings.method in scheme.methods), None)
    marked = [(scheme, mark) for scheme in schemes for mark in scheme.marks]
    shown = (of for of, mark in sorted(marked, key=_ambiguity) if any(t.name.endswith(mark) for t in stored))
    return next(shown, None)


def _ambiguity(marked: tuple[Scheme, str]) -> int:
    """How many schemes have tensors whose names end so: a mark that only one has comes first."""
    return sum(marked[1] in _load(name).endings for name in plugins.names("schemes"))


def _refuse_unread(settings: Settings, stored: list[StoredTensor]) -> None:
    """InputError when the weights are quantized; a merged model in floats often keeps the configuration."""
    codes = next((tensor for tensor in stored if tensor.dtype in _CODES), None)
    known = plugins.names("schemes")
    if settings.values and codes is not None:
        near = get_close_matches(settings.method, known, 1)
        more = f"; {near[0]!r} is the nearest that is read" if near else f"; read are {', '.join(known)}"
        raise InputError(f"{settings.where}: the weights are quantized with {describe(settings)}", hint=_HINT + more)
    for ending, kind in _UNREAD:
        name = next((tensor.name for tensor in stored if tensor.name.endswith(ending)), None)
        if name is not None:
            path = settings.checkpoint.path
            raise InputError(f"{path}: quantized with {kind}, as tensor {quoted(name)} tells", hint=_HINT)


def _groups(scheme: Scheme, stored: list[StoredTensor]) -> list[Group]:
    """Tensors whose names end as the scheme's do, by what stands before; others alone. In the order of the first."""
    endings = sorted(scheme.endings, key=len, reverse=True)
    groups: dict[tuple[str, bool], dict[str, StoredTensor]] = {}
    for tensor in stored:
        ending = next((ending for ending in endings if tensor.name.endswith(ending)), "")
        module = tensor.name.removesuffix(ending)
        groups.setdefault((module, bool(ending)), {})[ending] = tensor
    return [Group(module, parts) for (module, _), parts in groups.items()]


def _taken(group: Group, decode: Decoder, settings: Settings) -> list[Tensor]:
    """The tensor that a group stands for, or all of its tensors as they are."""
    tensor = None if "" in group else decode(group)
    if tensor is not None:
        return [tensor]
    for stored in group.parts.values():
        if stored.dtype in _CODES:
            what = f"holds codes as {stored.dtype}, but is no whole matrix of {describe(settings)}"
            raise InputError(f"{origin(stored)} {what}", hint=_HINT)
    return [from_stored(stored) for stored in group.parts.values()]
