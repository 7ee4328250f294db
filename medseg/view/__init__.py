"""A page on this machine alone that shows an image and label maps."""
