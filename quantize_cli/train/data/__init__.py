"""Texts and conversations become chunks of tokens to train on."""
