"""How golden checkpoints of the schemes are written: as a library stores them, with the weights that it reads back.

A case is a folder: config.json and model.safetensors as a checkpoint has them, and expected.safetensors with the
float32 weights under the names that the model gives them.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def write(
    name: str, config: Mapping[str, Any], stored: Mapping[str, Any], expected: Mapping[str, Any], **more: Any
) -> None:
    """Write one case from torch tensors. `more` has `metadata` of the safetensors file, and `files` beside it."""
    import torch
    from safetensors.torch import save_file

    folder = HERE / name
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"quantization_config": config}, indent=1) + "\n")
    for file, content in more.get("files", {}).items():
        (folder / file).write_text(json.dumps(content, indent=1) + "\n")
    contiguous = {key: tensor.detach().contiguous().clone() for key, tensor in stored.items()}
    save_file(contiguous, folder / "model.safetensors", more.get("metadata"))
    weights = {key: tensor.detach().to(torch.float32).contiguous().clone() for key, tensor in expected.items()}
    save_file(weights, folder / "expected.safetensors")
