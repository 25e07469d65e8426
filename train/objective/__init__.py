"""The similarities under the loss, and how a large batch is learnt from."""
