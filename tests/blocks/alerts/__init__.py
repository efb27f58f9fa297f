"""Monitoring systems."""
