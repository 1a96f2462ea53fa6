"""What a model is here: lazy tensors, where they come from, and metadata."""
