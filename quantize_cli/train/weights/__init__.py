"""Matrices as a file will hold them, with parameters that are trained."""
