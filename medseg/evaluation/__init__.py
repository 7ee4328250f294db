"""From label maps and truth to results."""
