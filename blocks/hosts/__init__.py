"""blocks/hosts: see docs/architecture.md."""
