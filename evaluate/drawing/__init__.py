"""What the pages show beside numbers: charts, frames, boxes and the words that answer to them."""
