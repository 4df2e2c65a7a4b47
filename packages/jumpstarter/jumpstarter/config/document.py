"""A YAML file whose every key knows its line, so that a mistake in it can be pointed at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

from jumpstarter.common.exceptions import ConfigurationError

KeyPath = tuple[str | int | float, ...]

_STR = "tag:yaml.org,2002:str"
_BOOL = "tag:yaml.org,2002:bool"
_KEY_TAGS = frozenset({_STR, "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"})
_MERGE = "tag:yaml.org,2002:merge"
_MAP = "tag:yaml.org,2002:map"
_SEQ = "tag:yaml.org,2002:seq"


@dataclass(frozen=True)
class Mistake:
    """What is wrong with the value at `path`."""

    path: KeyPath
    text: str


@dataclass
class Document:
    """The plain value of a YAML text, where each of its keys and items is, and what is wrong with the text itself."""

    source: str
    value: Any = None
    positions: dict[KeyPath, tuple[int, int]] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)

    def position(self, path: KeyPath) -> tuple[int, int]:
        """Line and column of a key; where there is no such key, of the nearest one around it."""
        while path and path not in self.positions:
            path = path[:-1]
        return self.positions.get(path, (1, 1))

    def refuse(self, mistakes: list[Mistake]) -> None:
        """Raise one ConfigurationError for all mistakes, in the order of the file; nothing for none."""
        if not mistakes:
            return
        lines = [
            (position, f"{self.source}:{position[0]}:{position[1]}: {_describe(mistake)}")
            for mistake in mistakes
            for position in [self.position(mistake.path)]
        ]
        raise ConfigurationError("\n".join(text for _, text in sorted(set(lines))))


def parse(text: str, source: str) -> Document:
    """Read one YAML document. ConfigurationError where it is no YAML; lesser faults become its `mistakes`."""
    document = Document(source)
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise ConfigurationError(f"{place}: not valid YAML: {error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        character = text[error.position]
        raise ConfigurationError(f"{source}:{line}: not valid YAML: the character {character!r}") from None
    if node is not None:
        document.value = _Reader(loader, document).read(node, (), ())
    return document


def dotted(path: KeyPath) -> str:
    """A path as users write it."""
    return ".".join(map(str, path))


def _describe(mistake: Mistake) -> str:
    return f"{dotted(mistake.path)}: {mistake.text}" if mistake.path else mistake.text


class _Reader:
    """Turns nodes into values and notes positions and mistakes."""

    def __init__(self, loader: yaml.SafeLoader, document: Document) -> None:
        self._loader = loader
        self._document = document
        self._flattened: set[int] = set()

    def read(self, node: yaml.Node, path: KeyPath, above: tuple[yaml.Node, ...]) -> Any:
        self._document.positions.setdefault(path, _position(node))
        if any(node is one for one in above):
            return self._refuse(path, "refers to itself")
        if isinstance(node, yaml.MappingNode) and node.tag == _MAP:
            return self._mapping(node, path, (*above, node))
        if isinstance(node, yaml.SequenceNode) and node.tag == _SEQ:
            return [self.read(item, (*path, i), (*above, node)) for i, item in enumerate(node.value)]
        if not isinstance(node, yaml.ScalarNode):
            return self._refuse(path, f"the tag {node.tag!r} is not supported")
        return self._scalar(node, path)

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        try:
            return self._loader.construct_object(node)
        except yaml.MarkedYAMLError as error:
            return self._refuse(path, str(error.problem))
        except ValueError as error:
            return self._refuse(path, f"{node.value!r}: {error}")

    def _mapping(self, node: yaml.MappingNode, path: KeyPath, above: tuple[yaml.Node, ...]) -> dict[Any, Any]:
        try:
            self._flatten(node, path)
        except yaml.MarkedYAMLError as error:
            self._refuse(path, str(error.problem))
        result = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path)
            if key is not None:
                self._document.positions[(*path, key)] = _position(key_node)
                result[key] = self.read(value_node, (*path, key), above)
        return result

    def _key(self, node: yaml.Node, path: KeyPath) -> Any:
        if isinstance(node, yaml.ScalarNode) and node.tag in _KEY_TAGS:
            return self._scalar(node, path)
        shown = node.value if isinstance(node, yaml.ScalarNode) else "?"
        self._document.positions[(*path, shown)] = _position(node)
        kind = "a boolean" if node.tag == _BOOL else "no text"
        return self._refuse((*path, shown), f'YAML takes this key for {kind}: write it in quotes, "{shown}"')

    def _flatten(self, node: yaml.MappingNode, path: KeyPath) -> None:
        """Resolve `<<` once per mapping, after a look for keys that the mapping itself gives twice."""
        if id(node) in self._flattened:
            return
        self._flattened.add(id(node))
        seen: set[Any] = set()
        for key, _ in node.value:
            if key.tag == _MERGE or not isinstance(key, yaml.ScalarNode):
                continue
            if (key.tag, key.value) in seen:
                self._document.positions[(*path, key.value)] = _position(key)
                self._refuse((*path, key.value), "the key is given twice")
            seen.add((key.tag, key.value))
        self._loader.flatten_mapping(node)

    def _refuse(self, path: KeyPath, text: str) -> None:
        self._document.mistakes.append(Mistake(path, text))


def _position(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1
