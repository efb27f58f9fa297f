"""blocks/journals: see docs/architecture.md."""
