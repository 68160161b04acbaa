"""Tasks of open problems, with a graded score for the quality of a solution."""
