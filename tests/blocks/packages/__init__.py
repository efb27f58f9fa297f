"""Tests of package stores."""
