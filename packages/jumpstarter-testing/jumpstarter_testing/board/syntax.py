"""The command language of both prompts: words, quotes, variables, and commands joined by `;`, `&&` and `||`."""

from __future__ import annotations

import re
from collections.abc import Callable

_TOKEN = re.compile(r"""\s*(?:(?P<operator>;|&&|\|\||[&|<>])|(?P<word>(?:'[^']*'|"[^"]*"|\\.|[^\s;&|<>'"\\])+)|$)""")
_PIECE = re.compile(r"""'(?P<literal>[^']*)'|"(?P<quoted>[^"]*)"|\\(?P<escaped>.)|(?P<bare>[^'"\\]+)""")
_VARIABLE = re.compile(r"\$(?:\{(\w+|\?)\}|(\w+|\?))")


def parse(line: str) -> list[tuple[str, list[str]]]:
    """(operator before it, words as typed) of each command; ValueError for what the language does not have."""
    commands: list[tuple[str, list[str]]] = [(";", [])]
    position = 0
    while position < len(line):
        match = _TOKEN.match(line, position)
        if match is None:
            raise ValueError("syntax error: unterminated quoted string")
        position = match.end()
        if word := match["word"]:
            commands[-1][1].append(word)
        elif operator := match["operator"]:
            if operator not in (";", "&&", "||") or (operator != ";" and not commands[-1][1]):
                raise ValueError(f"syntax error: unexpected '{operator}'")
            commands.append((operator, []))
    if not commands[-1][1] and commands[-1][0] != ";":
        raise ValueError("syntax error: unexpected end of line")
    return [(operator, words) for operator, words in commands if words]


def expand(word: str, lookup: Callable[[str], str]) -> str:
    """The word without its quotes and with its variables replaced, except in single quotes."""

    def piece(match: re.Match[str]) -> str:
        if match["literal"] is not None:
            return match["literal"]
        if match["escaped"] is not None:
            return match["escaped"]
        text = match["quoted"] if match["quoted"] is not None else match["bare"]
        return _VARIABLE.sub(lambda variable: lookup(variable[1] or variable[2]), text)

    return _PIECE.sub(piece, word)
