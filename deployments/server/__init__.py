"""`reinstate up`: paths · postgres · engine (server and worker processes) · register (deployments, automations) · up."""
