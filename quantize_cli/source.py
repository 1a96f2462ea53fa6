"""What a user names as input, opened: a checkpoint directory, a .safetensors file, or a .gguf file."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from types import ModuleType

from formats.checkpoint import Checkpoint, open_checkpoint
from formats.gguf import scalars, shards
from formats.gguf.layout import Value, text
from formats.quoted import quoted
from formats.source import Identities, recording
from quantize_cli import plugins
from quantize_cli.certificate import is_claim
from quantize_cli.errors import InputError
from quantize_cli.models._card import CardError, front_matter
from quantize_cli.models._general import metadata as general_metadata
from quantize_cli.models._sampling import sampling_warnings
from quantize_cli.models._slots import is_buffer
from quantize_cli.tensor import Tensor, from_stored
from quantize_cli.tokenizers import careful, checkpoint_tokenizer, special_warnings

_ARCHITECTURE = "general.architecture"
_OF_THE_MIX = ("general.file_type", "general.quantization_version")


@dataclass(frozen=True)
class Model:
    """A model to write: its metadata without what the recipe decides, and its tensors, not read yet."""

    path: Path
    architecture: str | None
    """llama.cpp's name for it, or None when nothing says."""
    metadata: dict[str, Value] = field(repr=False)
    tensors: list[Tensor] = field(repr=False)
    """In the order in which llama.cpp's converter writes them."""
    warnings: tuple[str, ...] = ()
    files: Identities = field(default_factory=dict, repr=False)
    """All that was opened to describe it."""

    @property
    def is_gguf(self) -> bool:
        """Whether it was a GGUF file already, whose tensors have been through a converter."""
        return self.path.suffix == ".gguf"


def open_model(path: Path) -> Model:
    """The model at `path`. FormatError when a file is not what it promises, InputError when we do not support it."""
    with recording() as files:
        model = _opened(path)
    return replace(model, files=files)


def _opened(path: Path) -> Model:
    if path.suffix == ".gguf" and not path.is_dir():
        return _from_gguf(path)
    checkpoint = open_checkpoint(path)
    if checkpoint.config is None:
        return _without_config(checkpoint)
    model_type = checkpoint.config.get("model_type")
    if not isinstance(model_type, str) or model_type not in plugins.names("models"):
        raise InputError(
            f"{checkpoint.directory}/config.json: model_type {quoted(str(model_type))} is not supported",
            hint="known: " + ", ".join(plugins.names("models")),
        )
    return _of_family(checkpoint, checkpoint.config, plugins.load("models", model_type))


def _of_family(checkpoint: Checkpoint, config: dict[str, object], family: ModuleType) -> Model:
    stored = [from_stored(tensor) for tensor in checkpoint.tensors if not is_buffer(tensor.name)]
    tensors: list[Tensor] = family.tensors(config, stored)
    general, warnings = _general(checkpoint, tensors)
    if checkpoint.file("modules.json"):
        warnings += (f"{checkpoint.directory}: how embeddings are pooled is not converted, state it to the engine",)
    metadata = {"general.architecture": text(family.ARCHITECTURE), **general, **family.metadata(config)}
    rows = next(tensor.shape[0] for tensor in tensors if tensor.name == "token_embd.weight")
    complete = {**family.DEFAULTS, **config, "vocab_size": rows}
    with careful(checkpoint):
        more = family.tokenizer_metadata(checkpoint, complete) if hasattr(family, "tokenizer_metadata") else {}
        tokenizer = checkpoint_tokenizer(checkpoint, complete, family.TOKENIZERS, more)
    metadata.update(tokenizer.metadata)
    warnings += tokenizer.warnings + sampling_warnings(checkpoint) + special_warnings(checkpoint, metadata)
    return Model(checkpoint.path, family.ARCHITECTURE, metadata, tensors, warnings)


def _general(checkpoint: Checkpoint, tensors: Iterable[Tensor]) -> tuple[dict[str, Value], tuple[str, ...]]:
    """The `general.*` keys; a model card that cannot be read is only worth a warning."""
    parameter_count = sum(prod(tensor.shape) for tensor in tensors)
    try:
        card = front_matter(checkpoint.text("README.md") or "")
    except CardError as error:
        warning = f"{checkpoint.directory}/README.md: the model card is not read, its front matter is no yaml: {error}"
        return general_metadata(checkpoint, {}, parameter_count), (warning,)
    return general_metadata(checkpoint, card, parameter_count), ()


def _from_gguf(path: Path) -> Model:
    file, stored = shards.read_model(path)
    own = shards.without_marks(file.metadata)
    # A certificate is of that file, and holds of nothing made from it.
    metadata = {key: value for key, value in own.items() if key not in _OF_THE_MIX and not is_claim(key)}
    name = scalars.words(f"{path}: ", file.metadata, _ARCHITECTURE) if _ARCHITECTURE in file.metadata else None
    warnings = () if name else (f"{path}: no 'general.architecture', so no engine will know the model",)
    return Model(path, name, metadata, [from_stored(tensor) for tensor in stored], warnings)


def _without_config(checkpoint: Checkpoint) -> Model:
    """Tensors under their own names: a container for weights, which no engine runs."""
    tensors = [from_stored(tensor) for tensor in checkpoint.tensors]
    warning = f"{checkpoint.path}: no config.json beside it, so names stay as they are and no engine will know it"
    return Model(checkpoint.path, None, {"general.name": text(checkpoint.path.stem)}, tensors, (warning,))
