"""Training over MONAI engines."""
