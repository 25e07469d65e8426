"""What a model has to be measured against: the floor, the obvious way, and the ceiling."""
