"""The `general.*` keys: author, name, size and sampling defaults of a model."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from quantize_cli.formats import hub
from quantize_cli.formats.checkpoint import Checkpoint
from quantize_cli.formats.gguf.layout import Value, ValueType, array, text, u32
from quantize_cli.model.model_name import MAX_NAME_LENGTH, parse_model_name, title
from quantize_cli.model.sampling import sampling_settings

_CARD_KEYS = {
    "name": ("name", "model_name"),
    "author": ("author", "model_author", "model_creator"),
    "version": ("version", "model_version"),
    "organization": ("organization", "model_organization"),
    "finetune": ("finetune", "model_finetune"),
    "basename": ("basename", "model_basename", "model_type"),
    "description": ("description", "model_description"),
    "size_label": ("size_label", "model_size_label"),
    "license": ("license",),
    "license.name": ("license_name",),
    "license.link": ("license_link",),
    "source.url": ("url", "model_url"),
    "source.doi": ("doi", "model_doi"),
    "source.uuid": ("uuid", "model_uuid"),
    "source.repo_url": ("repo_url", "model_repo_url"),
}
"""Each key takes the first of these that the card has."""
_IDENTITY_KEYS = ("name", "organization", "basename", "finetune", "version", "size_label")
_ORIGINS = (
    ("base_model", ("base_model", "base_models", "base_model_sources")),
    ("dataset", ("datasets", "dataset", "dataset_sources")),
)
_ORIGIN_FIELDS = ("name", "author", "version", "organization", "description", "url", "doi", "uuid", "repo_url")
_HUB = "https://huggingface.co/"
_HUB_ID = re.compile(r"https?://huggingface\.co/([^/]+/[^/]+)")


@dataclass(frozen=True)
class Size:
    """How many parameters a model has."""

    parameters: int
    experts: int = 0
    """Experts in a layer; 0 where there are none."""
    used: int = 0
    """Parameters of a model with one expert in each layer."""

    @property
    def label(self) -> str:
        """As people write it: "260K", "8x7B"."""
        return f"{self.experts}x{size_label(self.used)}" if self.experts else size_label(self.parameters)


def size_of(shapes: Mapping[str, tuple[int, ...]]) -> Size:
    """The size of a model by the names and shapes of its tensors (gguf-py's `get_total_parameter_count`)."""
    total = sum(prod(shape) for shape in shapes.values())
    stacks = [shape for name, shape in shapes.items() if "_exps." in name and len(shape) >= 3]
    if not stacks:
        return Size(total)
    others = sum(prod(shape) - prod(shape) // shape[-3] for shape in stacks)
    return Size(total, sum(shape[-3] for shape in stacks) // len(stacks), total - others)


def metadata(checkpoint: Checkpoint, card: dict[str, Any], model_size: Size) -> dict[str, Value]:
    """The `general.*` keys from the card, the other files and the directory's name (gguf-py's `Metadata`).

    FormatError when a file cannot be read.
    """
    parameter_count = model_size.parameters
    named = _named(checkpoint, card, model_size)
    general = {"general.type": text("model"), **sampling_settings(checkpoint)[0]}
    for key in _CARD_KEYS:
        value = named.get(key)
        if isinstance(value, list):
            value = ",".join(map(str, value))
        if value is not None and str(value):
            general[f"general.{key}"] = text(str(value))
    for kind, keys in _ORIGINS:
        if any(key in card for key in keys):
            general.update(_origins(kind, _listed(next(card[key] for key in keys if key in card)), parameter_count))
    for key, sources in (("tags", ("tags", "pipeline_tag")), ("languages", ("languages", "language"))):
        words = [str(word) for source in sources for word in _listed(card.get(source))]
        if words:
            general[f"general.{key}"] = array(ValueType.STRING, words)
    return general


def size_label(parameter_count: int) -> str:
    """A count with at least two digits: 260032 is "260K", 7241732096 is "7.2B"."""
    units = ((1e12, 1e-12, "T"), (1e9, 1e-9, "B"), (1e6, 1e-6, "M"), (-1, 1e-3, "K"))
    scale, suffix = next((scale, suffix) for limit, scale, suffix in units if parameter_count > limit)
    scaled = parameter_count * scale
    decimals = max(2 - len(str(round(scaled)).lstrip("0")), 0)
    return f"{scaled:.{decimals}f}{suffix}"


def _named(checkpoint: Checkpoint, card: dict[str, Any], model_size: Size) -> dict[str, Any]:
    """Keys from the card, else from the model's name in the config, else from the directory's name.

    A snapshot in huggingface_hub's cache takes the name of its repository. llama.cpp's converter takes the name of its
    directory, which is a commit.
    """
    named = {key: _first(card, sources) for key, sources in _CARD_KEYS.items()}
    directory = hub.repository_id(checkpoint.directory) or checkpoint.directory.absolute().name
    origin = (checkpoint.config or {}).get("_name_or_path")
    ids = [directory]
    # A name with more than one slash is a local path.
    if isinstance(origin, str) and origin.count("/") <= 1 and len(origin) <= MAX_NAME_LENGTH and origin.isprintable():
        ids.insert(0, origin)
    for identity in (parse_model_name(model, model_size.parameters) for model in ids):
        for key in _IDENTITY_KEYS:
            part = getattr(identity, key)
            if named[key] is None and part is not None:
                named[key] = title(part) if key in ("name", "organization") else part
    if named["name"] is None:
        named["name"] = directory.rpartition("/")[2]
    if named["size_label"] is None and model_size.parameters:
        named["size_label"] = model_size.label
    return named


def _first(values: dict[str, Any], keys: Iterable[str]) -> Any:
    return next((values[key] for key in keys if values.get(key) is not None), None)


def _listed(value: Any) -> list[Any]:
    """One string or a list of entries, as a list; anything else counts as none."""
    if isinstance(value, str):
        return [value]
    return value if isinstance(value, list) else []


def _origins(kind: str, entries: list[Any], parameter_count: int) -> dict[str, Value]:
    """`general.base_model.*` or `general.dataset.*`: a count, and the fields of each."""
    general = {f"general.{kind}.count": u32(len(entries))}
    for index, entry in enumerate(entries):
        described = entry if isinstance(entry, dict) else _described(entry, parameter_count)
        for field in _ORIGIN_FIELDS:
            if described.get(field):
                general[f"general.{kind}.{index}.{field}"] = text(str(described[field]))
    return general


def _described(entry: Any, parameter_count: int) -> dict[str, str | None]:
    """The fields of a model or dataset that is named by its Hugging Face id or its URL."""
    if not isinstance(entry, str):
        return {}
    model: str | None = entry
    address: str | None = None
    if entry.startswith(("http://", "https://", "ssh://")):
        address = entry
        match = _HUB_ID.fullmatch(entry)
        model = match.group(1) if match else None
    if model is None:
        return {"repo_url": address}
    identity = parse_model_name(model, parameter_count)
    if address is None and identity.organization is not None:
        address = f"{_HUB}{identity.organization}/{identity.name}"
    return {
        "name": title(identity.name) if identity.name else None,
        "organization": title(identity.organization) if identity.organization else None,
        "version": identity.version,
        "repo_url": address,
    }
