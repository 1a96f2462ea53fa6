"""The points that IQ types may use."""
