"""Tools that a model can call: their schemas, toolboxes, and the search and calculator tools."""
