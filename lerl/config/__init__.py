"""A run's configuration: its classes, and how YAML and flags become one."""
