"""How fast the kernels are on this machine, beside a reference where one is installed."""
