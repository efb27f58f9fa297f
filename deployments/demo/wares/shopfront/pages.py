"""The shop's HTML."""

from __future__ import annotations

from html import escape

from shoplib.money import euros  # type: ignore[import-not-found,unused-ignore]  # installed on the demo host only

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><link rel="stylesheet" href="/theme.css"></head>
<body><header><h1>{title}</h1></header><main class="products">
{products}
</main><footer><a href="/orders">Latest orders</a> · <a href="/health">Health</a></footer></body></html>
"""
PRODUCT = '<article><img src="/files/{image}" alt=""><h2>{name}</h2><p>{price}</p></article>'


def front(title: str, products: list[dict[str, object]]) -> str:
    """The front page with all products."""
    articles = [
        PRODUCT.format(
            image=escape(str(product["image"])),
            name=escape(str(product["name"])),
            price=escape(euros(product["price"])),
        )
        for product in products
    ]
    return PAGE.format(title=escape(title), products="\n".join(articles))
