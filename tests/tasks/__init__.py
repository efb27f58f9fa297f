"""Tests of `tasks`: one act each, done for real on this machine."""
