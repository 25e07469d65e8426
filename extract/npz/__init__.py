"""Region features that others extracted, one npz a frame, as region shards."""
