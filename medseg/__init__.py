"""Segment organs in CT and MRI, and trust the figures that come out."""

__version__ = "0.1.0"
