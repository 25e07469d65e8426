"""Whole runs, one YAML file each, and the small runner that ties the stages together."""
