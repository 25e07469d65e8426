"""The networks behind a detector: from frames to candidate regions, before any is chosen."""
