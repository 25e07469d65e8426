"""What a run keeps and shows: its folder, its journal, its progress."""
