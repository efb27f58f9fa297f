"""The RPM family on real hosts of the laboratory: detection, supplies, repair, undo, and what must be refused."""
