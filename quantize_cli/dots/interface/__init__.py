"""What a dot is."""
