"""What dots of one kind of block share."""
