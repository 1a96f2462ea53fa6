"""What types of one kind share."""
