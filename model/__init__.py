"""The domain in plain typed Python: no Prefect, no I/O.

errors · command · canonical · plan, planfile · incident · finding · severity ·
proposal, supplies, draft, rungs, ladder · signoff · journal, steps · outcome
"""
