"""The reference's searches for scales, minima and codes, sixteen at once."""
