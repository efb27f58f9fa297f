"""The throw-away world of `make demo`, built and damaged for real."""
