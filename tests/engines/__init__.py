"""Backup tools on a real host: one contract for every store of file sets, and the corpus of mutilated backups."""
