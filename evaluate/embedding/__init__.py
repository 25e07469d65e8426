"""How vectors are made once, by any number of ranks, and kept."""
