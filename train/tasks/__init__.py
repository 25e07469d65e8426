"""What a run can learn: to match clips and captions, or to answer questions."""
