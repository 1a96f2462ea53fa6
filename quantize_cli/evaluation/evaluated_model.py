"""A model that is evaluated, with its vocabulary and size."""

import hashlib
import struct
from dataclasses import dataclass, field
from pathlib import Path

from quantize_cli.errors import InputError
from quantize_cli.formats.ggml import row_nbytes
from quantize_cli.model.source import Model, open_model
from quantize_cli.runtime.transformer import Transformer, from_model


@dataclass(frozen=True)
class EvaluatedModel:
    """A model that is ready for an evaluation."""

    path: Path
    model: Model = field(repr=False)
    transformer: Transformer = field(repr=False)

    @property
    def vocabulary(self) -> int:
        return self.transformer.vocabulary

    @property
    def digest(self) -> bytes:
        """SHA-256 of all tokens in order: models with equal digests predict the same tokens."""
        texts = self.model.metadata["tokenizer.ggml.tokens"].data
        digest = hashlib.sha256()
        for text in texts:
            encoded = str(text).encode("utf-8", "surrogatepass")
            digest.update(struct.pack("<I", len(encoded)) + encoded)
        return digest.digest()

    @property
    def types(self) -> dict[str, int]:
        """Bytes of the tensors by type, the largest first."""
        nbytes_of: dict[str, int] = {}
        for tensor in self.model.tensors:
            nbytes = tensor.row_count * row_nbytes(tensor.type, tensor.columns)
            nbytes_of[tensor.type.name.lower()] = nbytes_of.get(tensor.type.name.lower(), 0) + nbytes
        return dict(sorted(nbytes_of.items(), key=lambda item: -item[1]))

    @property
    def nbytes(self) -> int:
        """Bytes of its file; of its tensors if it is a directory or several files."""
        tensors = sum(self.types.values())
        return max(tensors, self.path.stat().st_size) if self.path.is_file() else tensors

    @property
    def bits_per_weight(self) -> float:
        return 8 * sum(self.types.values()) / sum(t.row_count * t.columns for t in self.model.tensors)


def open_evaluated_model(path: Path, model: Model | None = None) -> EvaluatedModel:
    """The model at `path`, which may be open already; InputError when it cannot run or has no vocabulary."""
    model = model or open_model(path)
    tokens = model.metadata.get("tokenizer.ggml.tokens")
    if tokens is None or not isinstance(tokens.data, list):
        raise InputError(f"{path}: has no vocabulary, so nothing can be measured on a text")
    return EvaluatedModel(path, model, from_model(model))


def refuse_other_vocabulary(subject: EvaluatedModel, path: Path, vocabulary: int, digest: bytes) -> None:
    """InputError naming both files when those at `path` are not the tokens that the model predicts.

    An empty digest is not compared.
    """
    if subject.vocabulary != vocabulary:
        raise InputError(
            f"{subject.path} predicts {subject.vocabulary} tokens, {path} {vocabulary}: they cannot be compared"
        )
    if digest and subject.digest != digest:
        raise InputError(f"{subject.path} and {path} have different vocabularies: they cannot be compared")
