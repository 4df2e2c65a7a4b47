"""Private directories for sockets: what a killed process leaves is removed by the next one, and nothing else is."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jumpstarter.common.directories import private_directory

HOLD = """
import sys
from jumpstarter.common.directories import private_directory
with private_directory() as directory:
    (directory / "socket").touch()
    print(directory, flush=True)
    sys.stdin.readline()
"""

Hold = Callable[[], "tuple[subprocess.Popen[str], Path]"]


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    # The path of `tmp_path` may be too long for a socket.
    with tempfile.TemporaryDirectory(prefix="run-") as directory:
        monkeypatch.setenv("XDG_RUNTIME_DIR", directory)
        yield Path(directory)


@pytest.fixture
def hold(scripts: Any, runtime: Path) -> Hold:
    """Another process, and the directory it uses."""

    def start() -> tuple[subprocess.Popen[str], Path]:
        process = scripts.start(HOLD)
        return process, Path(process.stdout.readline().strip())

    return start


def make_one(runtime: Path) -> None:
    with private_directory() as directory:
        assert directory.parent == runtime
        assert directory.stat().st_mode & 0o777 == 0o700


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait(30)


def test_what_a_killed_process_left_is_removed(hold: Hold, runtime: Path) -> None:
    for _ in range(3):
        process, directory = hold()
        assert list(runtime.iterdir()) == [directory]
        kill(process)
        assert directory.exists()
    make_one(runtime)
    assert list(runtime.iterdir()) == []


def test_what_is_in_use_stays(hold: Hold, runtime: Path) -> None:
    process, directory = hold()
    make_one(runtime)
    assert (directory / "socket").exists()
    assert process.communicate("\n", timeout=30) == ("", "")
    assert list(runtime.iterdir()) == []


def test_a_directory_in_use_by_a_child_stays(scripts: Any, runtime: Path) -> None:
    process = scripts.start(
        """
        import os, sys
        from jumpstarter.common.directories import private_directory
        with private_directory() as directory:
            if os.fork():
                os._exit(0)
            print(directory, flush=True)
            sys.stdin.readline()
        """
    )
    directory = Path(process.stdout.readline().strip())
    assert process.wait(30) == 0
    make_one(runtime)
    assert directory.exists()
    process.communicate("\n", timeout=30)
    assert list(runtime.iterdir()) == []


def test_one_that_has_no_lock_stays(hold: Hold, runtime: Path) -> None:
    """So does that of a 0.9.0 peer."""
    process, directory = hold()
    (directory / "jumpstarter.lock").unlink()
    kill(process)
    make_one(runtime)
    assert directory.exists()


@pytest.mark.parametrize(
    ("name", "mode"), [("jumpstarter-abcd1234", 0o755), ("jumpstarter-my", 0o700), ("mine", 0o700)]
)
def test_what_was_not_made_for_sockets_stays(name: str, mode: int, hold: Hold, runtime: Path) -> None:
    process, directory = hold()
    kill(process)
    kept = directory.rename(runtime / name)
    kept.chmod(mode)
    make_one(runtime)
    assert (kept / "socket").exists()


def test_links_are_not_followed(hold: Hold, runtime: Path, tmp_path: Path) -> None:
    process, directory = hold()
    kill(process)
    elsewhere = directory.rename(tmp_path / "jumpstarter-abcd1234")
    (runtime / elsewhere.name).symlink_to(elsewhere)
    locked = runtime / "jumpstarter-abcd1235"
    locked.mkdir(0o700)
    (locked / "jumpstarter.lock").symlink_to(elsewhere / "jumpstarter.lock")
    make_one(runtime)
    assert (elsewhere / "socket").exists()
    assert locked.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_that_of_another_user_stays(hold: Hold, runtime: Path) -> None:
    process, directory = hold()
    kill(process)
    os.chown(directory, 12345, 12345)
    make_one(runtime)
    assert directory.exists()


def test_many_that_start_at_once(hold: Hold, runtime: Path) -> None:
    for _ in range(4):
        kill(hold()[0])
    started = [
        subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    try:
        directories = [Path(process.stdout.readline().strip()) for process in started if process.stdout]
        assert sorted(runtime.iterdir()) == sorted(directories)
        assert all((directory / "socket").exists() for directory in directories)
    finally:
        for process in started:
            process.communicate("\n", timeout=30)
    assert list(runtime.iterdir()) == []
