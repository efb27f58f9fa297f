"""Amounts of money, shown the same way everywhere."""

from __future__ import annotations

from decimal import Decimal


def euros(amount: object) -> str:
    """An amount as people read it: `1,234.50 EUR`."""
    return f"{Decimal(str(amount)):,.2f} EUR"
