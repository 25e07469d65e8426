"""Reading a published checkpoint: a file that is not trusted, and the names that stand in it."""
