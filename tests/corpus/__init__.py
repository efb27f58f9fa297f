"""The corpus of damage: every kind of damage as data, done to real hosts, found, repaired and looked at from outside.

`<family>.yaml` hold the cases, `faults` how each is done, `worlds` the host and plan of a family, `outcome` one
recovery of a host with many damages at once. `REINSTATE_WRITE_DOCS=1 pytest tests/corpus` writes docs/damage-cases.md.
"""
