"""Bundles of others and of our own, read as plain data and run without running what they bring."""
