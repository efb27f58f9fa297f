"""The demo's web shop: a page with products, the latest orders as JSON, and a health check that looks at everything."""

__version__ = "1.4.2"
