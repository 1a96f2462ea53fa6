"""One file per kind of tokenizer: GGUF metadata out of a checkpoint, and text to tokens out of GGUF metadata."""
