"""What to tell a user who mistyped a name."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(name: str, candidates: Iterable[str], likeness: float = 0.6) -> list[str]:
    """Up to three candidates that `name` may be a slip of, the nearest first; upper and lower case count as one.

    `likeness`: how much must be equal, between 0 and 1.
    """
    from difflib import get_close_matches

    by_lower = {candidate.lower(): candidate for candidate in sorted(candidates, reverse=True)}
    return [by_lower[match] for match in get_close_matches(name.lower(), by_lower, n=3, cutoff=likeness)]


def suggestion(names: list[str]) -> str:
    """The end of an error message that names what the user may have meant, if anything."""
    return f"; did you mean {' or '.join(names)}?" if names else ""


def no_driver(text: str) -> str:
    """The error message for what can be no driver's name, installed or not."""
    return f"expected an installed driver, such as MockPower, or an import path, got {text!r}"
