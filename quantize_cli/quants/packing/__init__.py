"""Where blocks keep codes of a few bits."""
