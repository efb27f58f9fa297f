"""Generated cases have no deadline: how busy the machine is says nothing about the code."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("reinstate", deadline=None)
settings.load_profile("reinstate")
