"""What the shop sells and has sold: its queries."""

from __future__ import annotations

from shoplib.query import rows  # type: ignore[import-not-found,unused-ignore]  # installed on the demo host only

from .config import Config

PRODUCTS = "select id, name, price, image from products order by name"
ORDERS = (
    "select o.id, c.name as customer, p.name as product, o.quantity, o.amount, o.placed_at"
    " from orders o join customers c on c.id = o.customer_id join products p on p.id = o.product_id"
    " order by o.id desc limit 50"
)
LEDGER = (
    "select count(*) as orders, sum(o.amount) as turnover, min(length(o.note)) as shortest_note,"
    " count(*) filter (where o.amount <> o.quantity * p.price) as wrong"
    " from orders o join products p on p.id = o.product_id"
)


def products(config: Config) -> list[dict[str, object]]:
    """All products, by name."""
    return list(rows(config.psql, config.dsn, PRODUCTS))


def latest_orders(config: Config) -> list[dict[str, object]]:
    """The fifty latest orders."""
    return list(rows(config.psql, config.dsn, ORDERS))


def ledger(config: Config) -> dict[str, object]:
    """Reads every order: their number, their sum, and how many do not add up."""
    found = rows(config.psql, config.dsn, LEDGER)
    return dict(found[0])
