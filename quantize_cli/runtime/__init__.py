"""CPU inference over a model file."""
