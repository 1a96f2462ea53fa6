"""Granite 3 with experts, stored as stacks: Granite's multipliers, and perhaps an expert that sees every token."""

from quantize_cli.families.decoder import granitemoe as architecture

ARCHITECTURE = architecture.ARCHITECTURE
CLASS = "GraniteMoe"
TOKENIZERS = ("spm", "bpe")
DEFAULTS = architecture.DEFAULTS
PREFIX, SLOTS = architecture.PREFIX, architecture.SLOTS
metadata, tensors, remarks = architecture.metadata, architecture.tensors, architecture.remarks
tokenizer_metadata = architecture.tokenizer_metadata
