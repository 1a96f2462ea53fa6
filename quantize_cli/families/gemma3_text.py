"""Gemma 3, text alone."""

from quantize_cli.families.decoder import gemma3 as architecture

ARCHITECTURE = architecture.ARCHITECTURE
CLASS = "Gemma3"
TOKENIZERS = ("spm",)
DEFAULTS = architecture.DEFAULTS
PREFIX, SLOTS = architecture.PREFIX, architecture.SLOTS
metadata = architecture.metadata
tensors = architecture.tensors
remarks = architecture.remarks
