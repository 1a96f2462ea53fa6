"""How a scale is chosen before bytes are: one file per method."""
