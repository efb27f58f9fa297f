"""blocks/backups: see docs/architecture.md."""
