"""load -> calibrate -> quantize -> pack -> write."""
