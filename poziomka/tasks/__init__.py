"""Problems that check themselves; the table of their names."""
