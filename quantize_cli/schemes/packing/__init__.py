"""Codes of a few bits in words and bytes, and the same codes in blocks of GGML types."""
