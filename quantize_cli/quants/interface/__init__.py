"""What a quantization type is."""
