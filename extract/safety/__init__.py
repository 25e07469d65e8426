"""What a run is safe against: workers that die or hang, a full disk, signals, a second run in the same folder."""
