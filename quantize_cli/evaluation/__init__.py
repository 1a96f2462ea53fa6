"""What a quantization cost: perplexity, divergence from a reference, and how far to trust either."""
