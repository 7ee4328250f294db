"""The parts of a made exposure."""
