"""How regions and words meet: the contrastive video-language model (stage 2)."""
