"""Tells the tensors of an adapter from those of a model."""

from quantize_cli.formats.checkpoint import Checkpoint, adapter

_LORA = (".lora_A.", ".lora_B.", ".lora_embedding_A", ".lora_embedding_B", ".lora_magnitude_vector")


def refuse_adapter(checkpoint: Checkpoint) -> None:
    """FormatError when there are tensors of a LoRA adapter, alone or beside those of their model."""
    if any(part in tensor.name for tensor in checkpoint.tensors for part in _LORA):
        raise adapter(checkpoint.path, checkpoint.directory)
