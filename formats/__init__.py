"""What files say: bytes to descriptions and back. Usable alone; imports nothing of quantize_cli."""
