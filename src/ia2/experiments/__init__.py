"""Studies: their YAML schema, plan, computation and storage."""
