"""What a user names as input, opened: a checkpoint directory, a .safetensors file, or a .gguf file."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType

from quantize_cli import plugins, schemes
from quantize_cli.certificate.statement import is_claim
from quantize_cli.errors import InputError
from quantize_cli.families.decoder.config import architecture_class, spelled, with_defaults
from quantize_cli.families.decoder.slots import is_buffer
from quantize_cli.formats.checkpoint import Checkpoint, open_checkpoint
from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.gguf import scalars, shards
from quantize_cli.formats.gguf.layout import Value, text
from quantize_cli.formats.gguf.magic import is_gguf
from quantize_cli.formats.quoted import quoted
from quantize_cli.formats.source import FileStamps, record_opened_files
from quantize_cli.model import nearest
from quantize_cli.model.adapter_tensors import refuse_adapter
from quantize_cli.model.card import MAX_NBYTES, CardError, front_matter
from quantize_cli.model.general import metadata as general_metadata
from quantize_cli.model.general import size_of
from quantize_cli.model.loadable_tensors import not_loaded, takes_scale
from quantize_cli.model.pooling import pooling_metadata
from quantize_cli.model.sampling import sampling_settings
from quantize_cli.model.tensor import Tensor, from_stored
from quantize_cli.model.wrapper_names import without_wrappers
from quantize_cli.tokenizers import TokenizerMetadata, checkpoint_tokenizer, guard_libraries, special_warnings

_ARCHITECTURE = "general.architecture"
_CARD = "README.md"
_CLASS_ENDINGS = ("ForCausalLM", "LMHeadModel", "Model", "ForMaskedLM")
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
    files: FileStamps = field(default_factory=dict, repr=False)
    """All that was opened to describe it."""
    is_gguf: bool = False
    """Whether it was a GGUF file already, whose tensors have been through a converter."""


def open_model(path: Path) -> Model:
    """The model at `path`. FormatError when a file is not what it promises, InputError when we do not support it."""
    with record_opened_files() as files:
        model = _opened(path)
    return replace(model, files=files)


def _opened(path: Path) -> Model:
    if is_gguf(path):
        return _from_gguf(path)
    checkpoint = open_checkpoint(path)
    refuse_adapter(checkpoint)
    if checkpoint.config is None:
        return _without_config(checkpoint)
    family, warnings = family_of(checkpoint, checkpoint.config)
    warnings = (*checkpoint.warnings, *warnings)
    return _of_family(checkpoint, with_defaults(checkpoint.config, family), family, warnings)


def family_of(checkpoint: Checkpoint, config: dict[str, object]) -> tuple[ModuleType, tuple[str, ...]]:
    """What reads the model: by its model_type, or by its class where that names no family."""
    model_type = config.get("model_type")
    name = model_type.replace("-", "_") if isinstance(model_type, str) else ""
    if name in plugins.names("families"):
        return plugins.load("families", name), ()
    where = f"{checkpoint.directory}/config.json: model_type {spelled(model_type)}"
    class_name = architecture_class(config)
    for name in plugins.names("families"):
        family = plugins.load("families", name)
        if class_name.lower() in {f"{family.CLASS}{ending}".lower() for ending in _CLASS_ENDINGS}:
            return family, (f"{where} is not known, taken for {quoted(name)}, as {class_name} is",)
    raise InputError(f"{where} is not supported", hint=nearest.advice(checkpoint, str(model_type), class_name))


def _of_family(
    checkpoint: Checkpoint, config: dict[str, object], family: ModuleType, warnings: tuple[str, ...]
) -> Model:
    read, remarks = schemes.tensors_of(checkpoint, [t for t in checkpoint.tensors if not is_buffer(t.name)])
    warnings += remarks
    tensors, added = placed(config, read, family)
    if added:
        warnings += (f"{checkpoint.path}: names of tensors are read without {quoted(added)}, which a wrapper added",)
    _refuse_not_loaded(family.ARCHITECTURE, tensors)
    tensors = [replace(t, takes_scale=bool(t.scheme) and takes_scale(family.ARCHITECTURE, t.name)) for t in tensors]
    warnings += family.remarks(config, tensors)
    general, remarks = _general(checkpoint, tensors)
    warnings += remarks
    pooling, remarks = pooling_metadata(checkpoint, family.ARCHITECTURE)
    warnings += remarks
    metadata = {"general.architecture": text(family.ARCHITECTURE), **general, **family.metadata(config), **pooling}
    rows = next(tensor.shape[0] for tensor in tensors if tensor.name == "token_embd.weight")
    tokenizer = tokenizer_of(checkpoint, {**config, "vocab_size": rows}, family)
    metadata.update(tokenizer.metadata)
    warnings += tokenizer.warnings + sampling_settings(checkpoint)[1] + special_warnings(checkpoint, metadata)
    return Model(checkpoint.path, family.ARCHITECTURE, metadata, tensors, warnings)


def tokenizer_of(checkpoint: Checkpoint, config: dict[str, object], family: ModuleType) -> TokenizerMetadata:
    """The `tokenizer.*` keys; `vocab_size` of the config is the number of the embedding's rows.

    InputError when the checkpoint has no tokenizer that we read.
    """
    with guard_libraries(checkpoint):
        more = family.tokenizer_metadata(checkpoint, config) if hasattr(family, "tokenizer_metadata") else {}
        return checkpoint_tokenizer(checkpoint, config, family.TOKENIZERS, more)


def placed(config: dict[str, object], stored: list[Tensor], family: ModuleType) -> tuple[list[Tensor], str]:
    """The tensors under their GGUF names, and what a wrapper had put into their names."""
    bare, added = without_wrappers(stored)
    try:
        tensors: list[Tensor] = family.tensors(config, bare)
    except InputError as error:
        if not added:
            raise
        hint = f"names have {quoted(added)} of a wrapper in them, but without it the model is not whole either"
        raise InputError(str(error), hint=hint) from error
    return tensors, added


def _refuse_not_loaded(architecture: str, tensors: list[Tensor]) -> None:
    """InputError for a tensor that llama.cpp has no place for: it refuses the whole file."""
    refused = set(not_loaded(architecture, [tensor.name for tensor in tensors]))
    for tensor in tensors:
        if tensor.name in refused:
            raise InputError(
                f"{tensor.origin} would be {quoted(tensor.name)}, which llama.cpp does not load in "
                f"architecture '{architecture}'",
                hint="llama.cpp refuses such a file, and without the tensor the model would compute something else",
            )


def _general(checkpoint: Checkpoint, tensors: Iterable[Tensor]) -> tuple[dict[str, Value], tuple[str, ...]]:
    """The `general.*` keys; a model card that cannot be read is only worth a warning."""
    size = size_of({tensor.name: tensor.shape for tensor in tensors})
    try:
        card = front_matter(checkpoint.head(_CARD, MAX_NBYTES + 1) or b"")
    except (CardError, FormatError) as error:
        warning = f"{checkpoint.directory}/{_CARD}: the model card is not read: {error}"
        return general_metadata(checkpoint, {}, size), (warning,)
    return general_metadata(checkpoint, card, size), ()


def _from_gguf(path: Path) -> Model:
    file, stored = shards.read_model(path)
    own = shards.without_split_metadata(file.metadata)
    # A certificate is of that file, and holds of nothing made from it.
    metadata = {key: value for key, value in own.items() if key not in _OF_THE_MIX and not is_claim(key)}
    name = scalars.string(f"{path}: ", file.metadata, _ARCHITECTURE) if _ARCHITECTURE in file.metadata else None
    warnings: tuple[str, ...] = (
        () if name else (f"{path}: no 'general.architecture', so no engine will know the model",)
    )
    blocks = file.metadata.get(f"{name}.block_count")
    layers = blocks.data if blocks is not None and type(blocks.data) is int else None
    if refused := not_loaded(name or "", [tensor.name for tensor in stored], layers):
        of = f"tensor {quoted(refused[0])}" + (f" and {len(refused) - 1} more" if len(refused) > 1 else "")
        warnings += (f"{path}: llama.cpp does not load {of} in architecture '{name}', and refuses such a file",)
    return Model(path, name, metadata, [from_stored(tensor) for tensor in stored], warnings, is_gguf=True)


def _without_config(checkpoint: Checkpoint) -> Model:
    """Tensors under their own names: a container for weights, which no engine runs."""
    tensors = [from_stored(tensor) for tensor in checkpoint.tensors]
    warning = f"{checkpoint.path}: no config.json beside it, so names stay as they are and no engine will know it"
    warnings = (*checkpoint.warnings, warning)
    return Model(checkpoint.path, None, {"general.name": text(checkpoint.path.stem)}, tensors, warnings)
