"""The pages: one HTML file a task that needs nothing but itself, and a PNG beside it."""
