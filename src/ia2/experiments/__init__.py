"""Studies: a YAML file described, planned, computed and kept."""
