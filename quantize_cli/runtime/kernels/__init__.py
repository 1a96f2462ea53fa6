"""The operations of a forward pass besides its matrix products, for programs to call on all threads."""
