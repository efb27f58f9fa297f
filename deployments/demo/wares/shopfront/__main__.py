"""Starts the shop: `python -m shopfront --config shop.ini --ready FILE`."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import config, server


def main() -> None:
    """Reads the command line, then serves until the supervisor goes away or sends SIGTERM."""
    parser = argparse.ArgumentParser(prog="shopfront")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--ready", type=Path, required=True, help="file to write once the shop listens")
    options = parser.parse_args()
    server.serve(options.config, config.read(options.config), options.ready)


main()
