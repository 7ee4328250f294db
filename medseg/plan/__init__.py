"""From a data set's fingerprint and a limit of memory to a config, and why each number is what."""
