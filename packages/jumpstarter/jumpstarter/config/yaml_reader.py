"""From YAML text to a document: every mistake with its place, and bounds on what a hostile text can cost."""

from __future__ import annotations

from typing import Any

import yaml

from jumpstarter.common.exceptions import ConfigurationError

from .document import Document, KeyPath, Mistake

# Levels of mappings and lists, and values once aliases are written out: far beyond any tree of drivers.
MAX_DEPTH = 100
MAX_VALUES = 50_000
_MAX_BITS = 1024

_STANDARD = "tag:yaml.org,2002:"
_STR = "tag:yaml.org,2002:str"
_BOOL = "tag:yaml.org,2002:bool"
_KEY_TAGS = frozenset({_STR, "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"})
_MERGE = "tag:yaml.org,2002:merge"
_MAP = "tag:yaml.org,2002:map"
_SEQ = "tag:yaml.org,2002:seq"

Pairs = list[tuple[yaml.Node, yaml.Node]]


def parse(text: str, source: str) -> Document:
    """Read one YAML document. ConfigurationError where it is no YAML; lesser faults become its `mistakes`."""
    document = Document(source)
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is not None:
            document.value = _Reader(loader, document).read(node, (), ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise ConfigurationError(f"{place}: not valid YAML: {_problem(error)}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        character = text[error.position]
        raise ConfigurationError(f"{source}:{line}: not valid YAML: the character {character!r}") from None
    return document


def _problem(error: yaml.MarkedYAMLError) -> str:
    problem = str(error.problem or error.context)
    if problem == "but found another document":
        return "a second document begins here: a file holds one"
    if "'\\t'" in problem:
        return "a tab: indent with spaces"
    return f"{problem} ({error.context})" if error.context and error.problem else problem


class _Loader(yaml.SafeLoader):
    """Refuses what nests too deep, or holds too much, while it reads."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        self._nodes += 1
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self._depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"nested deeper than {MAX_DEPTH} levels", problem_mark=mark)
        if self._nodes > MAX_VALUES:
            raise yaml.MarkedYAMLError(problem=f"more than {MAX_VALUES} values", problem_mark=mark)
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


class _Reader:
    """Turns nodes into values and notes positions and mistakes."""

    def __init__(self, loader: yaml.SafeLoader, document: Document) -> None:
        self._loader = loader
        self._document = document
        self._values = 0
        self._merged: dict[int, Pairs] = {}

    def read(self, node: yaml.Node, path: KeyPath, above: tuple[yaml.Node, ...]) -> Any:
        self._document.positions.setdefault(path, _position(node))
        if any(node is one for one in above):
            return self._refuse(path, "refers to itself")
        self._bound(node, path)
        if isinstance(node, yaml.MappingNode) and node.tag == _MAP:
            return self._mapping(node, path, (*above, node))
        if isinstance(node, yaml.SequenceNode) and node.tag == _SEQ:
            return [self.read(item, (*path, i), (*above, node)) for i, item in enumerate(node.value)]
        if not isinstance(node, yaml.ScalarNode):
            return self._refuse(path, f"the tag {node.tag!r} is not supported")
        return self._scalar(node, path)

    def _bound(self, node: yaml.Node, path: KeyPath) -> None:
        """Aliases write out little text as many values, or as deep ones."""
        self._values += 1
        if self._values > MAX_VALUES or len(path) > MAX_DEPTH:
            bound = f"{MAX_VALUES} values" if self._values > MAX_VALUES else f"{MAX_DEPTH} levels"
            problem = f"more than {bound}, once its aliases are written out"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        try:
            value = self._loader.construct_object(node)
        except (yaml.MarkedYAMLError, ValueError, LookupError, AttributeError, ArithmeticError):
            kind = node.tag.removeprefix(_STANDARD)
            if kind == node.tag or "/" in kind:
                return self._refuse(path, f"the tag {node.tag!r} is not supported")
            return self._refuse(path, f"YAML takes this for {kind}, but cannot read it: write it in quotes")
        if isinstance(value, int) and value.bit_length() > _MAX_BITS:
            return self._refuse(path, f"a number of more than {_MAX_BITS} bits")
        if isinstance(value, str) and not _is_text(value):
            return self._refuse(path, "half a character: write a code point above U+FFFF as \\U and eight digits")
        return value

    def _mapping(self, node: yaml.MappingNode, path: KeyPath, above: tuple[yaml.Node, ...]) -> dict[Any, Any]:
        result = {}
        for key_node, value_node in self._pairs(node, path, ()):
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
        if not isinstance(node, yaml.ScalarNode):
            return self._refuse((*path, shown), "a list or a mapping cannot be a key")
        kind = "a boolean" if node.tag == _BOOL else "no text"
        return self._refuse((*path, shown), f'YAML takes this key for {kind}: write it in quotes, "{shown}"')

    def _pairs(self, node: yaml.MappingNode, path: KeyPath, merging: tuple[yaml.Node, ...]) -> Pairs:
        """Keys and values of a mapping: its own win over those that `<<` brings, of which the first win."""
        if len(merging) > MAX_DEPTH:
            problem = f"`<<` leads through more than {MAX_DEPTH} mappings"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        if id(node) not in self._merged:
            own = [pair for pair in node.value if pair[0].tag != _MERGE]
            self._refuse_twins(own, path)
            found = {_identity(key): (key, value) for key, value in own}
            for key, value in node.value:
                for source in self._sources(key, value, path, (*merging, node)) if key.tag == _MERGE else ():
                    for pair in self._pairs(source, path, (*merging, node)):
                        found.setdefault(_identity(pair[0]), pair)
            self._merged[id(node)] = list(found.values())
        return self._merged[id(node)]

    def _sources(
        self, key: yaml.Node, value: yaml.Node, path: KeyPath, merging: tuple[yaml.Node, ...]
    ) -> list[yaml.MappingNode]:
        """The mappings that one `<<` names."""
        named = value.value if isinstance(value, yaml.SequenceNode) else [value]
        sources = []
        for one in named:
            if isinstance(one, yaml.MappingNode) and not any(one is node for node in merging):
                sources.append(one)
                continue
            itself = isinstance(one, yaml.MappingNode)
            self._document.positions[(*path, "<<")] = _position(key)
            self._refuse((*path, "<<"), "refers to itself" if itself else "expected a mapping or a list of mappings")
        return sources

    def _refuse_twins(self, pairs: Pairs, path: KeyPath) -> None:
        seen = set()
        for key, _ in pairs:
            if isinstance(key, yaml.ScalarNode) and _identity(key) in seen:
                self._document.positions[(*path, key.value)] = _position(key)
                self._refuse((*path, key.value), "the key is given twice")
            seen.add(_identity(key))

    def _refuse(self, path: KeyPath, text: str) -> None:
        self._document.mistakes.append(Mistake(path, text))


def _identity(key: yaml.Node) -> Any:
    return (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key)


def _is_text(value: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _position(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1
