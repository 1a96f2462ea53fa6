"""Run llama.cpp's converter on the checkpoints of `variants` and keep what it wrote, for tests to compare with.

    python -m tests.golden.converter.make_golden LLAMA_CPP [variant ...]

LLAMA_CPP is a source tree of llama.cpp; its converter needs torch and transformers, the tests need neither. Each
variant becomes <variant>.json here: every metadata key with its type and its value (long arrays as a digest), and for
each tensor its shape and the type and digest of its bytes in the f32, f16 and bf16 files. Models of the project's
shared folder, where there is one, are added as shared-<name>.json.

The pre-tokenizer's name is told to the converter, which finds it by a hash that no vocabulary made up here has.
"""

import hashlib
import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.golden.converter.variants import VARIANTS

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[2] / ".." / "shared" / "models"
SHARED_MODELS = {"stories260K": None, "ours-llama-3m": None, "capp-gpt2": "gpt-2"}
TYPES = ("f32", "f16", "bf16")
LONGEST_ARRAY = 16


def digest(data: bytes) -> str:
    """Enough of a SHA-256 to tell two tensors apart."""
    return hashlib.sha256(data).hexdigest()[:16]


def described(value: Any) -> Any:
    """A metadata value as JSON keeps it; an array that is long as its length and the digest of its JSON."""
    if isinstance(value, list) and len(value) > LONGEST_ARRAY:
        return {"length": len(value), "digest": digest(json.dumps(value, ensure_ascii=False).encode())}
    return value


def main(llama_cpp: str, *names: str) -> None:
    sys.path[:0] = [llama_cpp, f"{llama_cpp}/gguf-py"]
    versions = {name: importlib.import_module(name).__version__ for name in ("torch", "transformers", "tokenizers")}
    jobs: dict[str, Any] = {name: (variant.build, variant.pretokenizer) for name, variant in VARIANTS.items()}
    for name, pretokenizer in SHARED_MODELS.items():
        if (SHARED / name).is_dir():
            jobs[f"shared-{name}"] = (lambda parent, name=name: SHARED / name, pretokenizer)
    for name in names or jobs:
        build, pretokenizer = jobs[name]
        with tempfile.TemporaryDirectory() as folder:
            written = convert(build(Path(folder)), Path(folder), pretokenizer)
            golden = {"versions": versions, **summary(written)}
        (HERE / f"{name}.json").write_text(one_per_line(golden), encoding="utf-8")


def convert(
    checkpoint: Path, folder: Path, pretokenizer: str | None, types: tuple[str, ...] = TYPES
) -> dict[str, Path]:
    """llama.cpp's converter's files by type; `pretokenizer` is the name it is told."""
    converter, base = importlib.import_module("convert_hf_to_gguf"), importlib.import_module("conversion.base")
    if pretokenizer:
        base.TextModel.get_vocab_base_pre = lambda self, tokenizer: pretokenizer
    written = {}
    for type_ in types:
        written[type_] = folder / f"{type_}.gguf"
        sys.argv = ["convert", str(checkpoint), "--outtype", type_, "--outfile", str(written[type_])]
        converter.main()
    return written


def summary(written: dict[str, Path]) -> dict[str, Any]:
    """The metadata of the f32 file, and of each tensor its shape, and its type and digest in each file."""
    reader = importlib.import_module("gguf").GGUFReader
    files = {type_: reader(path) for type_, path in written.items()}
    metadata = {}
    for field in files["f32"].fields.values():
        if not field.name.startswith("GGUF."):
            metadata[field.name] = [[type_.name for type_ in field.types], described(field.contents())]
    tensors: dict[str, Any] = {}
    for type_, file in files.items():
        for tensor in file.tensors:
            entry = tensors.setdefault(tensor.name, {"shape": [int(count) for count in reversed(tensor.shape)]})
            entry[type_] = [tensor.tensor_type.name, digest(tensor.data.tobytes())]
    return {"metadata": metadata, "tensors": tensors}


def one_per_line(golden: dict[str, Any]) -> str:
    """JSON that a diff can be read of: a line for each key and each tensor."""
    parts = []
    for section, entries in golden.items():
        lines = [f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in entries.items()]
        parts.append(f"{json.dumps(section)}: {{\n" + ",\n".join(lines) + "\n}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    main(*sys.argv[1:])
