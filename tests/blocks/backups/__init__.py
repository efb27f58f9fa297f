"""Backup stores: the contract, and what is special to S3."""
