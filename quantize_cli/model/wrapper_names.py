"""Removes what training wrappers add to names: torch.compile, DDP, FSDP, DeepSpeed, PEFT, Lightning."""

from collections.abc import Sequence

from quantize_cli.model.tensor import Tensor

_OUTER = ("module.", "base_model.", "_forward_module.", "model.")
_INNER = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""Added to every name within a wrapped part of the model; no model uses these itself."""
_TWICE = ("model.model.", "model.lm_head.", "model.transformer.")
"""Beginnings of names with one "model." too many; a single "model." belongs to the model."""


def without_wrappers(stored: Sequence[Tensor]) -> tuple[list[Tensor], str]:
    """The tensors under their names without wrappers, and what the wrappers added, "" for nothing."""
    names = [tensor.name for tensor in stored]
    added = [part for part in _INNER if any(part in name for name in names)]
    for part in added:
        names = [name.replace(part, "") for name in names]
    while (prefix := _common(names)) and (prefix != "model." or any(name.startswith(_TWICE) for name in names)):
        names = [name[len(prefix) :] for name in names]
        added.append(prefix)
    return [tensor.renamed(name) for tensor, name in zip(stored, names, strict=True)], "".join(added)


def _common(names: Sequence[str]) -> str:
    """The wrapper's prefix that all names share, "" for none."""
    return next((prefix for prefix in _OUTER if names and all(name.startswith(prefix) for name in names)), "")
