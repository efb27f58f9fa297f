"""Documentation that runs: plans, examples, links and generated pages."""
