"""What a run keeps to go on from: checkpoints, and all that stands in them beside weights."""
