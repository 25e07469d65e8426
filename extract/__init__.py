"""How media becomes regions: frames, detector, region shards (stage 1)."""
