"""Volume in, label map of the native grid out."""
