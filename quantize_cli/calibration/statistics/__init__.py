"""Sums over the activations that matrices multiply on a text."""
