"""What would fail in a long run, found before it: checks that look at this machine and change nothing on it."""
