"""What a command still has to know: asked at a terminal, a usage error elsewhere."""

from __future__ import annotations

import sys
from functools import partial
from typing import NamedTuple

import click


class Question(NamedTuple):
    """An option, and what to ask where the command line does not give it."""

    option: str
    given: str | None
    text: str
    required: bool = True
    hidden: bool = False


def answers(questions: list[Question], nointeractive: bool) -> list[str | None]:
    """The value of each; None for what is neither given nor required. All that is missing is told at once."""
    given = [None if question.given is None else _clean(question, question.given) for question in questions]
    # Empty, as of a variable that is not set: no more than an option that is left out.
    lacking = [question for question, text in zip(questions, given, strict=True) if question.required and not text]
    if not nointeractive and at_terminal():
        return [
            _ask(question) if text is None or question in lacking else text
            for question, text in zip(questions, given, strict=True)
        ]
    if lacking:
        why = "" if nointeractive else " (there is no terminal to ask at)"
        raise click.UsageError(f"missing: {', '.join(question.option for question in lacking)}{why}")
    return [text or None for text in given]


def token_from_stdin(given: str | None) -> str | None:
    """The token that an option gives, or for `-` the first line of stdin, which no list of processes shows."""
    return sys.stdin.readline() if given == "-" else given


def at_terminal() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _ask(question: Question) -> str | None:
    optional = "" if question.required else " (Enter for none)"
    default = None if question.required else ""
    answer: str = click.prompt(
        f"{question.text}{optional}",
        default=default,
        show_default=False,
        hide_input=question.hidden,
        value_proc=partial(_answer, question),
        err=True,
    )
    return answer or None


def _answer(question: Question, text: str) -> str:
    if question.required and not text.strip():
        raise click.UsageError("this must not be empty")
    return _clean(question, text)


def _clean(question: Question, text: str) -> str:
    """A text without the blanks around it; a usage error for what a file could not hold."""
    if not text.strip().isprintable():
        raise click.UsageError(f"{question.option}: expected text in one line, without control characters")
    return text.strip()
