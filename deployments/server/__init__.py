"""`reinstate up`: paths · postgres · engine (processes) · register (deployments, automations) · up."""
