"""Drills: faults really done on laboratory hosts, seen by the plan's own checks, and undone."""
