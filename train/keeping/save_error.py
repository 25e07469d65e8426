"""What is raised where a run cannot be kept: of checkpoints and of models."""

from __future__ import annotations

import click


class SaveError(click.ClickException):
    """A checkpoint or a model could not be written: the disk is full, or gone. Exit code 1."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
