"""The documentation (mkdocs) and the script that writes its reference pages."""
