"""The webhook gateway: what monitoring systems post to (R-USE-6)."""
