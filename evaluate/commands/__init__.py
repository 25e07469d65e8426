"""The commands of ``python -m evaluate``: each parses, builds and calls."""
