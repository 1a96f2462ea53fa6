"""How numba is used: kernels, vectors of sixteen lanes, operations called by address, half floats."""
