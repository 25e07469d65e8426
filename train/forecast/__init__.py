"""What a run will take and what its steps cost: operations, hours, memory, disk."""
