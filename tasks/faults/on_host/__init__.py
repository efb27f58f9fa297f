"""Programs of drills that run on the host, each joined to `common` and handed to its Python.

`picker` chooses files · `planter` damages and mends · `packages` chooses packages and kills an upgrade.
"""
