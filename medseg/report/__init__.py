"""Results on disk to one HTML file."""
