"""Several results side by side: only like is compared with like."""
