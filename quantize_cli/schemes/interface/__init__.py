"""What a scheme is, what a checkpoint says of itself, and how its tensors are read."""
