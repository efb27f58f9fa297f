"""Tests of the checks: collectors against this machine, judges from data."""
