"""One short, hackable script per verb."""
