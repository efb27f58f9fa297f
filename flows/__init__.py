"""The response stages and what strings them together."""
