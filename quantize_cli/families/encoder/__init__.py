"""What encoder families share."""
