"""The one exception a user is meant to read: wrong input, configuration or usage."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import click


class InputError(click.ClickException):
    """Something the user gave is wrong. Printed as one line, exit code 2, never a traceback.

    The message names the file or key, the value that was given, and the way out.
    """

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))

    def __reduce__(self) -> tuple[type[InputError], tuple[str]]:
        return (type(self), (self.message,))


def brief(text: object, most: int = 200) -> str:
    """One line of at most ``most`` characters: for what a file says, which may be of any length."""
    line = " ".join(str(text)[: most + 1].split())
    return line if len(line) <= most else line[: most - 3] + "..."


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Says which of the known names is nearest to a wrong one; all of them when none is near."""
    known = sorted(known)
    near = difflib.get_close_matches(given, known, n=3, cutoff=0.5)
    if near:
        return "did you mean " + " or ".join(near) + "?"
    return "known: " + ", ".join(known) if known else "none is known"
