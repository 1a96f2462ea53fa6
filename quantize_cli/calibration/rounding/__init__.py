"""How the codes of a matrix are chosen for what it multiplies."""
