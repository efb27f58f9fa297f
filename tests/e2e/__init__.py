"""Whole recoveries: real hosts, real damage, real backups, real sign-offs, judged by witnesses of their own."""
