"""Configuration files on disk: what is no such file is refused at once, and writing leaves the old text or the new."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.common.exceptions import FileNotFoundError as OurFileNotFoundError
from jumpstarter.config.files import MAX_BYTES, read_text, remove, write_text

NOBODY = 65534


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def unprivileged() -> Iterator[Path]:
    """A directory of a user who is not root, and this process as that user."""
    directory = Path(tempfile.mkdtemp())
    root = os.geteuid() == 0
    if root:
        os.chown(directory, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    try:
        yield directory
    finally:
        if root:
            os.seteuid(0)
        directory.chmod(0o700)
        shutil.rmtree(directory)


def refusal(path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read_text(path)
    return str(caught.value)


class TestReading:
    def test_text(self, tmp_path: Path) -> None:
        path = tmp_path / "a.yaml"
        path.write_bytes("\ufeffä: 1\r\n".encode())
        assert read_text(path) == "ä: 1\r\n"

    def test_what_is_no_file(self, tmp_path: Path) -> None:
        pipe, door = tmp_path / "pipe", tmp_path / "socket"
        os.mkfifo(pipe)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(door))
            kinds = {tmp_path: "a directory", pipe: "a named pipe", door: "a socket", Path("/dev/zero"): "a device"}
            for path, kind in kinds.items():
                assert refusal(path) == f"{path}: expected a file, this is {kind}"

    def test_a_huge_file_is_not_read(self, tmp_path: Path) -> None:
        path = tmp_path / "huge.yaml"
        with path.open("wb") as file:
            file.truncate(100 << 20)
        tracemalloc.start()
        try:
            assert refusal(path) == f"{path}: larger than 1 MiB: this is no configuration file"
            assert tracemalloc.get_traced_memory()[1] < MAX_BYTES
        finally:
            tracemalloc.stop()

    def test_a_file_that_hides_its_size(self) -> None:
        path = Path("/proc/kallsyms")  # of size 0, and some megabytes long
        if path.exists():
            assert refusal(path).endswith("larger than 1 MiB: this is no configuration file")

    @pytest.mark.parametrize(
        ("data", "text"),
        [
            ("a: 1".encode("utf-16"), ": this is text in UTF-16 or UTF-32: save it as UTF-8"),
            (b"\x7fELF\x00\x01", ": not a text file: it holds NUL bytes"),
            (b"a: 1\nb: \xe4\n", ":2: not a text file in UTF-8: the byte 0xe4"),
        ],
    )
    def test_what_is_no_text(self, tmp_path: Path, data: bytes, text: str) -> None:
        path = tmp_path / "a.yaml"
        path.write_bytes(data)
        assert refusal(path) == f"{path}{text}"

    def test_what_is_not_there(self, tmp_path: Path) -> None:
        path, link = tmp_path / "a.yaml", tmp_path / "link.yaml"
        link.symlink_to("a.yaml")
        with pytest.raises(OurFileNotFoundError, match=r"there is no such file$"):
            read_text(path)
        with pytest.raises(FileNotFoundError, match=r"there is no such file \(it is a link to a\.yaml\)"):
            read_text(link)

    def test_what_may_not_be_read(self) -> None:
        with unprivileged() as directory:
            path = directory / "a.yaml"
            path.write_text("a: 1")
            path.chmod(0)
            assert refusal(path) == f"{path}: cannot be read: permission denied"

    def test_a_link_to_itself(self, tmp_path: Path) -> None:
        path = tmp_path / "a.yaml"
        path.symlink_to(path)
        assert refusal(path).startswith(f"{path}: cannot be read: too many levels of symbolic links")


class TestWriting:
    def test_new_files_and_directories_are_private(self, tmp_path: Path) -> None:
        path = tmp_path / "one" / "two" / "a.yaml"
        write_text(path, "ä: 1\n")
        assert path.read_bytes() == "ä: 1\n".encode()
        assert [mode(path), mode(path.parent), mode(path.parents[1])] == [0o600, 0o700, 0o700]
        assert list(path.parent.iterdir()) == [path]

    @pytest.mark.parametrize(("before", "after"), [(0o644, 0o600), (0o600, 0o600), (0o200, 0o200)])
    def test_the_mode_of_what_was_there(self, tmp_path: Path, before: int, after: int) -> None:
        path = tmp_path / "a.yaml"
        path.write_text("old")
        path.chmod(before)
        write_text(path, "new")
        assert mode(path) == after

    def test_a_link_stays_one(self, tmp_path: Path) -> None:
        target, link = tmp_path / "dotfiles" / "a.yaml", tmp_path / "a.yaml"
        target.parent.mkdir()
        target.write_text("old")
        link.symlink_to("dotfiles/a.yaml")
        write_text(link, "new")
        assert (link.is_symlink(), target.read_text()) == (True, "new")

    def test_a_link_to_what_is_not_there_yet(self, tmp_path: Path) -> None:
        link = tmp_path / "a.yaml"
        link.symlink_to("elsewhere/a.yaml")
        write_text(link, "new")
        assert (link.is_symlink(), (tmp_path / "elsewhere" / "a.yaml").read_text()) == (True, "new")

    def test_the_owner_stays(self, tmp_path: Path) -> None:
        if os.geteuid() != 0:
            pytest.skip("only root writes files of others")
        path = tmp_path / "a.yaml"
        path.write_text("old")
        os.chown(path, NOBODY, NOBODY)
        write_text(path, "new")
        assert (path.stat().st_uid, path.stat().st_gid, path.read_text()) == (NOBODY, NOBODY, "new")

    def test_what_is_protected_or_no_file(self, tmp_path: Path) -> None:
        protected, loop = tmp_path / "a.yaml", tmp_path / "loop.yaml"
        protected.write_text("old")
        protected.chmod(0o400)
        loop.symlink_to(loop)
        with pytest.raises(
            ConfigurationError, match=r"a\.yaml: cannot be written: it is write-protected \(mode 0400\)"
        ):
            write_text(protected, "new")
        with pytest.raises(ConfigurationError, match="a link that leads back to itself"):
            write_text(loop, "new")
        with pytest.raises(ConfigurationError, match="expected a file, this is a directory"):
            write_text(tmp_path, "new")
        assert protected.read_text() == "old"

    def test_a_directory_that_may_not_be_written(self) -> None:
        with unprivileged() as directory:
            path = directory / "a.yaml"
            path.write_text("old")
            directory.chmod(0o500)
            with pytest.raises(ConfigurationError) as caught:
                write_text(path, "new")
            assert str(caught.value) == f"{path}: cannot be written: permission denied in {directory}"
            with pytest.raises(ConfigurationError, match="cannot be written: permission denied"):
                write_text(directory / "new" / "a.yaml", "new")
            with pytest.raises(ConfigurationError, match="cannot be removed: permission denied"):
                remove(path)
            assert path.read_text() == "old"

    def test_a_file_in_place_of_a_directory(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigurationError, match="cannot be written: not a directory"):
            write_text(tmp_path / "file" / "a.yaml", "new")

    def test_a_disk_that_takes_no_more(self, tmp_path: Path) -> None:
        path = tmp_path / "a.yaml"
        path.write_text("old")
        source = f"""
import resource
from pathlib import Path
from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.config.files import write_text
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
try:
    write_text(Path({str(path)!r}), "new" * 100)
except ConfigurationError as error:
    print(error)
"""
        done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout == f"{path}: cannot be written: file too large\n"
        assert {one.name: one.read_text() for one in tmp_path.iterdir()} == {"a.yaml": "old"}

    def test_a_kill_leaves_one_of_the_two_texts(self, tmp_path: Path) -> None:
        path = tmp_path / "a.yaml"
        texts = {letter * 200_000 for letter in "ab"}
        source = f"""
from pathlib import Path
from jumpstarter.config.files import write_text
path = Path({str(path)!r})
write_text(path, "a" * 200_000)
print("ready", flush=True)
while True:
    for letter in "ba":
        write_text(path, letter * 200_000)
"""
        for _ in range(5):
            with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
                process.kill()
            assert path.read_text() in texts
