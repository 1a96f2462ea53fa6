"""The order in which a model is calibrated and rounded."""
