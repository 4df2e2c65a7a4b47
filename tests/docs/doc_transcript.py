"""What a `console` block says: commands, what they print, and what is typed in the shell that one of them opens.

`$ ` begins a command, `> ` or a backslash before it continues one, and what follows is what the command prints on both
outputs; `...` stands for any lines, or for any text within a line. A line with the prompt of a `jmp shell`, such as
`⚡name ➤ `, is typed there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from doc_blocks import Block

PROMPT = re.compile(r"^(?:\S+ )?⚡(?P<name>\S+) ➤ ?(?P<command>.*)$")
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b\][^\x07]*\x07|\x1b[=>]")


@dataclass
class Command:
    """One command of a block, what it prints, and what is typed in the shell that it opens.

    `context`: what the prompt of a `jmp shell` shows of it.
    """

    line: str
    context: str = field(default="", kw_only=True)
    output: list[str] = field(default_factory=list)
    typed: list[Command] = field(default_factory=list)


def commands_of(block: Block) -> list[Command]:
    """The commands of a `console` block."""
    commands: list[Command] = []
    for line in block.code.splitlines():
        if line.startswith("$ "):
            commands.append(Command(line[2:]))
            continue
        assert commands, f"{block}: a console block begins with a command"
        command = commands[-1]
        if prompt := PROMPT.match(line):
            command.typed.append(Command(prompt["command"], context=prompt["name"]))
        elif not command.output and not command.typed and (line.startswith("> ") or command.line.endswith("\\")):
            command.line += "\n" + line.removeprefix("> ")
        else:
            (command.typed[-1] if command.typed else command).output.append(line)
    return commands


def matches(expected: list[str], actual: str) -> bool:
    """Whether some text is what a page shows."""
    if not expected:
        return not actual.strip()
    pattern = "".join(r"(?:[^\n]*\n)*?" if line.strip() == "..." else _line(line) for line in expected)
    return re.fullmatch(pattern, _lines(actual)) is not None


def _line(line: str) -> str:
    return r"[^\n]*?".join(re.escape(part) for part in line.rstrip().split("...")) + r"[ ]*\n"


def _lines(text: str) -> str:
    text = ESCAPE.sub("", text).replace("\r\n", "\n").replace("\r", "")
    return "\n".join(line.rstrip() for line in text.strip("\n").split("\n")) + "\n"
