"""The domain: pure rules, tested from tables and from generated values."""
