"""Functions of one case on NumPy arrays."""
