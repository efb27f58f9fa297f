"""The test-suite: `support/` holds the helpers, one folder per package under test."""
