"""Small things the shop depends on: money and database queries. A distribution of its own."""

__version__ = "0.9.0"
