"""Monitoring systems: how each proves a message, and what it says; one file per system."""
