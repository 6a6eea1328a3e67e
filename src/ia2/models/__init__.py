"""Language models: named, fetched, loaded, and read at the positions that matter."""
