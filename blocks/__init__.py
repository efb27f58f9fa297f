"""What the operator configures: Prefect blocks that connect, one folder per kind, one file per adapter."""
