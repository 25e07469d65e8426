"""The commands of ``python -m extract``, one file a group of them: making, looking, weights."""
