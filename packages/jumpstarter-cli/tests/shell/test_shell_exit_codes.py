"""The exit code of `jmp shell` is that of its child, in every mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

MODES = ("local", "direct", "direct with passphrase")


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory, bench_type: Any) -> Iterator[dict[str, tuple[Any, list[str]]]]:
    """One exporter of each mode for all these tests."""
    with ExitStack() as stack:
        bench = bench_type(tmp_path_factory.mktemp("bench"), stack)
        yield {mode: (bench, bench.reach(mode, bench.file())[1]) for mode in MODES}


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "j power on && j power off && exit 9"], 9),
        (["./text"], 126),
        (["no-such-program"], 127),
        (["sh", "-c", "kill -TERM $$"], 128 + 15),
        (["sh", "-c", "kill -KILL $$"], 128 + 9),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else str(value),
)
@pytest.mark.parametrize("mode", MODES)
def test_exit_code(mode: str, command: list[str], code: int, ways: Any) -> None:
    bench, way = ways[mode]
    Path(bench.home / "text").write_text("no program")
    process = bench.shell(way, *command)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert out == ""
    if code in (126, 127):
        assert err.splitlines()[-1].startswith(f"{command[0]}: ")
    else:
        assert err == ""
