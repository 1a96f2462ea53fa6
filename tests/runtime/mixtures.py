"""The example with its feed-forwards made into experts: a mixture that has a vocabulary and reads text."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from quantize_cli.formats.gguf.layout import u32
from quantize_cli.model.source import open_model
from quantize_cli.quants import decode
from tests.cli.console import MODEL
from tests.runtime.synthetic import write_like

EXPERTS = 5


def five_experts(folder: Path) -> Path:
    """Each layer has five experts, two of which are used, and the last of which is sent no token."""
    model, random = open_model(MODEL), np.random.default_rng(0)
    tensors = {t.name: decode(t.type, t.read(0, t.row_count)).reshape(t.shape) for t in model.tensors}
    for name in [name for name in tensors if ".ffn_" in name and "norm" not in name]:
        weights = tensors.pop(name)
        scales = 1 + np.arange(EXPERTS, dtype=np.float32)[:, None, None] / 8
        tensors[name.replace(".weight", "_exps.weight")] = weights * scales
    for name in [name for name in tensors if "ffn_gate_exps" in name]:
        router = np.outer([1, -1, 0.5, -0.5, 0], random.normal(size=tensors[name].shape[-1]))
        tensors[name.replace("gate_exps", "gate_inp")] = router.astype(np.float32)
    counts = {"llama.expert_count": u32(EXPERTS), "llama.expert_used_count": u32(2)}
    return write_like(replace(model, metadata={**model.metadata, **counts}), folder / "mixture.gguf", tensors)
