"""The loss of a quantization: perplexity, divergence from a reference, and their intervals."""
