"""What is served: the command line."""
