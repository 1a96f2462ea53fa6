"""Build the checkpoints of `variants` with transformers, and keep what llama.cpp's converter makes of them.

    python -m tests.golden.families.make_golden LLAMA_CPP [variant ...]

LLAMA_CPP is a source tree of llama.cpp; this needs torch and transformers, the tests need neither. Each variant
becomes <variant>.json here: config.json and the shapes of the stored tensors, by which `variants.build` makes the
checkpoint again, and what `tests.golden.converter.make_golden` keeps of the converter's files. Where transformers has
the model, some of its float32 logits are kept too.
"""

import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.golden.converter.make_golden import convert, one_per_line, summary
from tests.golden.families.variants import HERE, VARIANTS, Variant, build

TOKENS = tuple(range(3, 403, 9))
"""What logits are computed of: 45 tokens, more than the windows of the variants."""
KEPT = 24
"""Logits of the last position, of the first tokens of the vocabulary."""
TYPES = ("f32", "f16")


def main(llama_cpp: str, *names: str) -> None:
    sys.path[:0] = [llama_cpp, f"{llama_cpp}/gguf-py"]
    versions = {name: importlib.import_module(name).__version__ for name in ("torch", "transformers", "tokenizers")}
    for name in names or VARIANTS:
        variant = VARIANTS[name]
        with tempfile.TemporaryDirectory() as folder:
            stored = _skeleton(variant, Path(folder) / "transformers")
            directory = build(name, Path(folder) / name, stored=stored)
            if variant.plain:
                _use_plain_config()
            written = convert(directory, Path(folder), variant.pretokenizer, TYPES)
            golden = {"versions": versions, **stored, **summary(written), "logits": _logits(variant, directory)}
        (HERE / f"{name}.json").write_text(one_per_line(golden), encoding="utf-8")


def _skeleton(variant: Variant, directory: Path) -> dict[str, Any]:
    """config.json as transformers writes it, edited, and the shape of each tensor."""
    if not variant.config_class:
        config, shapes = dict(variant.config), {name: list(shape) for name, shape in variant.shapes.items()}
        return {"config": config, "stored": shapes}
    import safetensors
    import torch
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, variant.config_class)(**variant.config)
    model = getattr(transformers, variant.auto_class).from_config(config)
    model.save_pretrained(directory)
    settings = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    settings = {key: value for key, value in {**settings, **variant.edited}.items() if value is not None}
    with safetensors.safe_open(directory / "model.safetensors", "numpy") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    return {"config": settings, "stored": shapes}


def _use_plain_config() -> None:
    """Have the converter do what it does where transformers cannot load a config: read the file."""
    base = importlib.import_module("conversion.base")
    base.AutoConfig = None  # type: ignore[attr-defined]


def _logits(variant: Variant, directory: Path) -> dict[str, Any]:
    """Float32 logits of the last of `TOKENS`, none where transformers does not have the model."""
    if not variant.config_class:
        return {}
    import torch
    import transformers

    class_ = getattr(transformers, variant.auto_class)
    model = class_.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([TOKENS])).logits[0, -1]
    return {"kept": [float(value) for value in logits[:KEPT]], "largest": float(logits.abs().max())}


if __name__ == "__main__":
    main(*sys.argv[1:])
