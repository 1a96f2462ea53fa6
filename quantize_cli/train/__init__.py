"""Training of what a file will hold: one file per method. Needs the extra `train` (torch)."""
