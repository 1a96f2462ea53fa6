"""Products, loads, stores and rounding that all dots are made of."""
