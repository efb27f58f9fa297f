"""What runs on the demo's host: the sources of the shop's two wheels and of its supervisor."""
