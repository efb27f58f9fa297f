"""What finds damage and proves health; read-only: collect(connection, asset) -> facts, judge(facts) -> CheckResult.

stat (facts about paths), compare · dpkg, packages · pip_environment (pip_probe runs on the host) · files ·
postgres, database, expectations · service, probe · examine (all of a plan) · supplies (what can repair it)
"""
