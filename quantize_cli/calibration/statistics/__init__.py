"""What matrices are given to multiply on a text, summed up."""
