"""Names that a wrapper changed: torch.compile, DistributedDataParallel, FSDP, DeepSpeed, PEFT, Lightning."""

from collections.abc import Sequence

from quantize_cli.model.tensor import Tensor

_OUTER = ("module.", "base_model.", "_forward_module.", "model.")
_INNER = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""Put in front of every name of what is wrapped, which may be a part of the model; no model uses these itself."""
_TWICE = ("model.model.", "model.lm_head.", "model.transformer.")
"""A name of a whole model after one "model." too many: its own names begin with "model." too, so one alone stays."""


def unwrapped(stored: Sequence[Tensor]) -> tuple[list[Tensor], str]:
    """The tensors under the names they had before they were wrapped, and what the wrappers added, "" for nothing."""
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
