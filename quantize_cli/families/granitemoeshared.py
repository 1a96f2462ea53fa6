"""Granite with experts and with one more that sees every token; llama.cpp has one architecture for both."""

from quantize_cli.families.decoder import granitemoe as architecture

ARCHITECTURE = architecture.ARCHITECTURE
CLASS = "GraniteMoeShared"
TOKENIZERS = ("spm", "bpe")
DEFAULTS = architecture.DEFAULTS
PREFIX, SLOTS = architecture.PREFIX, architecture.SLOTS
metadata, tensors, remarks = architecture.metadata, architecture.tensors, architecture.remarks
tokenizer_metadata = architecture.tokenizer_metadata
