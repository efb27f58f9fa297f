"""What is served: deployments, schedules, automations, the webhook gateway, the command line, `up`."""
