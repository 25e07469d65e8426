"""The order of an epoch, and reading it."""
