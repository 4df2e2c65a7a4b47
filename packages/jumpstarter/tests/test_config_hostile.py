"""Files that are wrong by accident or on purpose: refused soon, and told as mistakes of the file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.config.exporter import ExporterConfigV1Alpha1

HEAD = "metadata: {namespace: lab, name: bench}\n"
GOOD = Path(__file__).with_name("sound_exporter.yaml").read_text()


def mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        ExporterConfigV1Alpha1.load_text(text, "x.yaml").check()
    return str(caught.value).splitlines()


class TestHostileTexts:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("[" * 100_000, "x.yaml:1:101: not valid YAML: nested deeper than 100 levels"),
            ("a:\n" + "".join(f"{' ' * n}-\n" for n in range(1, 1000)), "nested deeper than 100 levels"),
            (f"{HEAD}export: {'{a: {children: ' * 60}{{}}{'}}' * 60}", "nested deeper than 100 levels"),
            ("a: [" + "1, " * 60_000 + "]", "more than 50000 values"),
            (
                "a: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
                + "".join(f"b{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)),
                "more than 50000 values, once its aliases are written out",
            ),
            (
                "a: &a0 [x]\n" + "".join(f"b{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 200)),
                "more than 100 levels, once its aliases are written out",
            ),
            ("&a [*a, *a]", "0: refers to itself"),
            ("a: &a {<<: *a}", "a.<<: refers to itself"),
        ],
    )
    def test_they_are_refused_soon(self, text: str, message: str) -> None:
        started = time.monotonic()
        assert message in "\n".join(mistakes(text))
        assert time.monotonic() - started < 20

    def test_merges_do_not_multiply(self) -> None:
        bomb = "a: &a0 {k: x}\n" + "".join(
            f"b{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 30)
        )
        assert mistakes(bomb)[0].startswith("x.yaml:1:1: a: unknown key")

    def test_merges_through_hidden_mappings(self) -> None:
        hidden = "".join(f"h{n}: {{k: 1, <<: {{k: &b{n} {{<<: *b{n - 1}}}}}}}\n" for n in range(1, 200))
        text = f"h: &b0 {{k: 1}}\n{hidden}last: {{<<: *b199}}\n"
        assert "`<<` leads through more than 100 mappings" in mistakes(text)[0]

    def test_a_file_that_is_wrong_all_over(self) -> None:
        found = mistakes("".join(f"key{n}: 1\n" for n in range(500)))
        assert (len(found), found[-1]) == (101, "x.yaml: and 401 more mistakes")

    def test_keys_and_values_that_terminals_would_act_on(self) -> None:
        [key, description] = mistakes(f'{HEAD}"\\e[31mred": 1\ndescription: "\\ud800"\n')
        assert key.startswith(r"x.yaml:2:1: \x1b[31mred: unknown key")
        assert description.startswith("x.yaml:3:1: description: half a character")


SCALARS = ("", "~", "on", "5", "-1", "1.5", ".nan", "[]", "{}", "!x y", "!!int x", "!!binary x", "2020-13-01", "*power")
SCALARS += (
    "&power",
    "'",
    '"',
    "|",
    ">",
    "%",
    "@",
    "- ",
    "? ",
    "<<: 5",
    "0x" + "f" * 2000,
    "9" * 5000,
    "\\ud800",
    "\x00",
)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """The good file with a few accidents."""
    text = GOOD
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        to = draw(st.integers(at, min(at + 30, len(text))))
        lines = st.sampled_from(GOOD.splitlines(keepends=True))
        added = draw(
            st.one_of(st.just(""), st.text(max_size=5), st.sampled_from(SCALARS), lines, st.just(text[at:to] * 2))
        )
        text = text[:at] + added + text[to:]
    return text


@st.composite
def exchanged(draw: st.DrawFn) -> str:
    """The good file with one of its values replaced by another kind of value."""
    value = yaml.safe_load(GOOD)
    places = list(_places(value))
    container, key = draw(st.sampled_from(places))
    keys = st.one_of(st.text(max_size=5), st.booleans(), st.integers(), st.none())
    leaves = st.one_of(keys, st.floats(), st.binary(max_size=3), st.dates())
    container[key] = draw(
        st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3))
    )
    text: str = yaml.safe_dump(value)
    return text


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a value with each of its keys."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield value, key
        yield from _places(inner)


@given(st.one_of(mutated(), exchanged(), st.text(max_size=50)))
def test_whatever_is_in_a_file_it_loads_or_its_mistakes_are_told(text: str) -> None:
    try:
        ExporterConfigV1Alpha1.load_text(text, "x.yaml").check()
    except ConfigurationError as error:
        for line in str(error).splitlines():
            assert line.startswith("x.yaml:")
