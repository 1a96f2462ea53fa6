"""Numbers of four and eight bits under scales of blocks: the floats and integers of most schemes that are not lines."""
