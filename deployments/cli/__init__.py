"""The command line `reinstate`: app · plans · incidents · recovery · servers · output. A thin layer."""

from __future__ import annotations

from deployments.cli.app import main

__all__ = ["main"]
