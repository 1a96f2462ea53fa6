"""What kinds of vocabulary share."""
