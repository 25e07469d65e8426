"""Ids as WebDataset keys: every byte outside ``[A-Za-z0-9_-]`` percent-encoded, reversibly."""

from __future__ import annotations

import re

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_SAFE = re.compile(r"[A-Za-z0-9_-]+")
_KEY = re.compile(r"(?:[A-Za-z0-9_-]|%[0-9A-F]{2})+")


def encode_key(identifier: str) -> str:
    """The key of an id: safe as a tar member's name, since it holds no dot, slash or space.

    Raises:
        ValueError: the id is empty or not valid Unicode.
    """
    if not identifier:
        raise ValueError("an id is empty")
    if _SAFE.fullmatch(identifier):
        return identifier
    return "".join(chr(b) if b in _PLAIN else f"%{b:02X}" for b in identifier.encode("utf-8"))


def decode_key(key: str) -> str:
    """The id of a key.

    Raises:
        ValueError: this is no key that ``encode_key`` gives.
    """
    if not _KEY.fullmatch(key):
        raise ValueError(f"not a key: {key!r}")
    raw = re.sub(rb"%([0-9A-F]{2})", lambda match: bytes([int(match[1], 16)]), key.encode("ascii"))
    identifier = raw.decode("utf-8")
    if encode_key(identifier) != key:
        raise ValueError(f"not a canonical key: {key!r}")
    return identifier
