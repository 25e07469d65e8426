"""Figures that papers published, as data: what a result is shown beside."""
