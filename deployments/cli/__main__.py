"""`python -m deployments.cli`: the command line without its script."""

from deployments.cli.app import main

main()
