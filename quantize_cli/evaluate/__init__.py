"""What a quantization cost: perplexity now, divergence later."""
