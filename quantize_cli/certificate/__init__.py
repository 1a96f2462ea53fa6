"""What a file claims of its making, measured and verified."""
