"""The two encoders and what they start from."""
