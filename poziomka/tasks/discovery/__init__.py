"""Open problems that are scored by how good a solution is."""
