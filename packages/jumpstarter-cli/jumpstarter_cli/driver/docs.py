"""What a driver's author has written about its settings, wherever Python lets that be written."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from itertools import pairwise
from typing import Annotated, Any, NamedTuple, get_args, get_origin

from jumpstarter.driver import Driver

_NAMES = r"`{0,2}\w+`{0,2}(?:(?:,|,? and)\s+`{0,2}\w+`{0,2})*"
# `port: text`, "`host`, `port`: text", "- port (int): text" and ":param port: text".
_ENTRY = re.compile(rf"^\s*(?:[-*]\s+)?(?::\w+\s+)?(?P<names>{_NAMES})\s*(?:\([^)]*\))?:\s+(?P<text>\S.*)$")
# "Seconds. `cwd`: text" is two entries in one line.
_NEXT_SENTENCE = re.compile(r"(?<=[.;])\s+(?=`\w+`:\s)")
_HEADING = re.compile(r"^\s*(?:Args|Arguments|Attributes|Parameters|Configuration|Config|Settings|Fields):\s*$")
_METADATA = ("description", "doc", "help")


class DocString(NamedTuple):
    """The text of a docstring without what it says about settings, and that by name."""

    text: str
    settings: dict[str, str]


def description_of(cls: type[Driver], names: Iterable[str]) -> str:
    """What a driver's docstring, or that of the class it comes from, says beside its settings."""
    known = set(names)
    return next((parse_docstring(doc, known).text for base in _own_bases(cls) if (doc := _docstring(base))), "")


def setting_docs(cls: type[Driver], names: Iterable[str]) -> dict[str, str]:
    """Text by setting: of the field itself, else in the line below it, else in the docstrings of the class."""
    known = set(names)
    found: dict[str, str] = {}
    for base in _own_bases(cls):
        for source in (_field_texts(base), _texts_below(base), parse_docstring(_docstring(base), known).settings):
            found = {name: text for name, text in source.items() if name in known} | found
    return found


def parse_docstring(doc: str, names: Iterable[str]) -> DocString:
    """Take what `doc` says about `names` out of it: lines `name: text`, each up to the next one or an empty line."""
    known = set(names)
    rest: list[str] = []
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in _NEXT_SENTENCE.sub("\n", inspect.cleandoc(doc)).splitlines():
        entry = _ENTRY.match(line)
        keys = re.findall(r"\w+", entry["names"].replace(" and ", " ")) if entry else []
        if entry and keys and known.issuperset(keys):
            current = [entry["text"]]
            found.update(dict.fromkeys(keys, current))
        elif current is not None and line.strip():
            current.append(line.strip())
        else:
            current = None
            rest.append(line)
    if found:
        rest = [line for line in rest if not _HEADING.match(line)]
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(rest)).strip()
    return DocString(text, {name: " ".join(lines) for name, lines in found.items()})


def _own_bases(cls: type[Driver]) -> Iterator[type]:
    """The class and those below `Driver` that it comes from."""
    return (base for base in cls.__mro__ if base is not Driver and not issubclass(Driver, base))


def _docstring(cls: type) -> str:
    """The docstring that is written in a class; dataclasses without one get their signature."""
    doc = vars(cls).get("__doc__") or ""
    return "" if not isinstance(doc, str) or doc.startswith(f"{cls.__name__}(") else doc


def _field_texts(cls: type) -> dict[str, str]:
    """Descriptions in `Field(description=...)`, `field(metadata=...)`, `field(doc=...)` and `Annotated[...]`."""
    texts = {}
    for name, info in vars(cls).get("__pydantic_fields__", {}).items():
        texts[info.alias or name] = info.description
    if is_dataclass(cls):
        for field in fields(cls):
            texts[field.name] = (
                next((field.metadata[key] for key in _METADATA if key in field.metadata), None)
                or getattr(field, "doc", None)
                or texts.get(field.name)
            )
    for name, annotation in _evaluated(cls).items():
        texts[name] = texts.get(name) or next(filter(None, map(_annotated_text, _extras(annotation))), None)
    return {name: text for name, text in texts.items() if isinstance(text, str) and text}


def _evaluated(cls: type) -> dict[str, Any]:
    try:
        return inspect.get_annotations(cls, eval_str=True)
    except Exception:  # names that only type checkers see
        return inspect.get_annotations(cls)


def _extras(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()


def _annotated_text(extra: Any) -> str | None:
    """Of pydantic's Field, and of typing_extensions.Doc."""
    return getattr(extra, "description", None) or getattr(extra, "documentation", None)


def _texts_below(cls: type) -> dict[str, str]:
    """The string literals in the lines below fields."""
    try:
        [definition] = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return {}
    body = definition.body if isinstance(definition, ast.ClassDef) else []
    return {
        field.target.id: inspect.cleandoc(text.value.value)
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }
