"""`jmp config`: files are made, chosen, edited and deleted, by people at a terminal and by scripts."""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pexpect
import pytest
import yaml
from pexpect import fdpexpect

Program = Callable[..., subprocess.CompletedProcess[str]]

SECONDS = 30
JMP = Path(sys.executable).parent / "jmp"
# Makes the terminal on stdin the one that passwords are asked at, then becomes a program.
AT_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
WHO = ("--namespace", "lab", "--name", "me", "--endpoint", "grpc.example.com:443")
GOOD = "metadata: {namespace: lab, name: bench}\nexport: {power: {type: MockPower}}\n"
BAD = GOOD.replace("type", "typ")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Where the programs that tests run keep their configuration."""
    return tmp_path / ".config" / "jumpstarter"


@pytest.fixture
def create(jmp: Program) -> Callable[[str], None]:
    """Makes a client."""

    def make(alias: str) -> None:
        done = jmp("config", "client", "create", alias, *WHO, "--token", "secret")
        assert done.returncode == 0, done.stderr

    return make


@pytest.fixture
def terminal(tmp_path: Path) -> Callable[..., Any]:
    """Context manager `(*args, code, **environment)`: `jmp` at a terminal, which has to end with `code`."""

    @contextmanager
    def start(*args: str, code: int = 0, **env: str) -> Iterator[Any]:
        ours = ("JMP_", "JUMPSTARTER_", "VISUAL", "EDITOR")
        clean = {name: text for name, text in os.environ.items() if not name.startswith(ours)}
        home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / ".config"), "TERM": "dumb"}
        ours, theirs = pty.openpty()
        command = [sys.executable, "-c", AT_TERMINAL, str(JMP), *args]
        with (
            fdpexpect.fdspawn(ours, timeout=SECONDS, encoding="utf-8") as screen,
            subprocess.Popen(command, env=clean | home | env, stdin=theirs, stdout=theirs, stderr=theirs) as process,
        ):
            os.close(theirs)
            try:
                yield screen
                screen.expect(pexpect.EOF)
                assert process.wait(SECONDS) == code, screen.before
            finally:
                process.kill()

    return start


@pytest.fixture
def editor(tmp_path: Path) -> Callable[..., str]:
    """Gives an editor that puts one given text after the other in place of what it is to edit."""

    def make(*texts: str) -> str:
        for number, text in enumerate(texts):
            (tmp_path / f"text{number}").write_text(text)
        script = tmp_path / "editor"
        script.write_text(
            f"#!{sys.executable}\nimport os, sys\n"
            f"name = min(name for name in os.listdir({str(tmp_path)!r}) if name.startswith('text'))\n"
            f"os.replace(os.path.join({str(tmp_path)!r}, name), sys.argv[1])\n"
        )
        script.chmod(0o755)
        return str(script)

    return make


class TestCreatingClients:
    def test_from_a_script(self, jmp: Program, files: Path) -> None:
        done = jmp("config", "client", "create", "lab", *WHO, "-t", "secret", "-a", "a.*, b", "-k", "--nointeractive")
        path = files / "clients" / "lab.yaml"
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"Client 'lab' created: {path}\nIt is the current client now.\n"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        content = yaml.safe_load(path.read_text())
        assert content["metadata"] == {"namespace": "lab", "name": "me"}
        assert (content["endpoint"], content["token"]) == ("grpc.example.com:443", "secret")
        assert content["drivers"] == {"allow": ["a.*", "b"], "unsafe": False}
        assert content["tls"]["insecure"] is True

    def test_the_second_one_is_not_current(self, jmp: Program, create: Callable[[str], None]) -> None:
        create("one")
        done = jmp("conf", "cl", "c", "two", *WHO, "-t", "secret", "--unsafe", "-o", "path")
        assert done.stdout.endswith("clients/two.yaml\n")
        assert jmp("config", "client", "list", "-o", "name").stdout == "one\ntwo\n"
        assert json.loads(jmp("config", "clients", "ls", "-o", "json").stdout)["currentConfig"] == "one"

    def test_elsewhere(self, jmp: Program, tmp_path: Path, files: Path) -> None:
        done = jmp("config", "client", "create", "lab", *WHO, "-t", "secret", "--out", "here.yaml")
        assert done.stdout == "Client 'lab' created: here.yaml\n"
        assert yaml.safe_load((tmp_path / "here.yaml").read_text())["kind"] == "ClientConfig"
        assert not files.exists()

    def test_what_is_missing_is_named(self, jmp: Program) -> None:
        done = jmp("config", "client", "create", "lab", "--name", "me")
        assert done.returncode == 2
        assert "missing: --namespace, --endpoint, --token (there is no terminal to ask at)" in done.stderr
        done = jmp("config", "client", "create")
        assert (done.returncode, "Missing argument 'ALIAS'" in done.stderr) == (2, True)

    def test_an_empty_option_is_one_that_is_missing(self, jmp: Program, files: Path) -> None:
        done = jmp("config", "client", "create", "lab", "--name", "", "--namespace", " ", "-e", "e:1", "-t", "")
        assert (done.returncode, "missing: --namespace, --name, --token" in done.stderr) == (2, True)
        assert not files.exists()

    @pytest.mark.parametrize("token", ["a\nb", "a\x07", "\udcff"])
    def test_what_a_file_could_not_hold(self, jmp: Program, files: Path, token: str) -> None:
        done = jmp("config", "client", "create", "lab", *WHO, "--token", token)
        assert (done.returncode, "--token: expected text in one line" in done.stderr) == (2, True)
        assert not files.exists()

    @pytest.mark.parametrize(("out", "reason"), [("", "this is empty"), (".", "File '.' is a directory")])
    def test_what_is_no_file_to_write(self, jmp: Program, out: str, reason: str) -> None:
        done = jmp("config", "client", "create", "lab", *WHO, "-t", "secret", "--out", out)
        assert (done.returncode, reason in done.stderr) == (2, True)

    def test_a_mistake_in_the_users_file_leaves_nothing_half_done(self, jmp: Program, files: Path) -> None:
        files.mkdir(parents=True)
        (files / "config.yaml").write_text("kind: UserConfig\n")
        done = jmp("config", "client", "create", "lab", *WHO, "-t", "secret")
        assert (done.returncode, "config.yaml:1:1: config: this key is missing" in done.stderr) == (1, True)
        assert not (files / "clients").exists()

    def test_one_that_is_there_already(self, jmp: Program, create: Callable[[str], None], files: Path) -> None:
        create("lab")
        before = (files / "clients" / "lab.yaml").read_text()
        done = jmp("config", "client", "create", "lab", *WHO, "-t", "other")
        assert (done.returncode, "exists already: delete it first" in done.stderr) == (1, True)
        assert (files / "clients" / "lab.yaml").read_text() == before

    @pytest.mark.parametrize("alias", ["../x", ".hidden", "a/b"])
    def test_what_is_no_alias(self, jmp: Program, alias: str) -> None:
        done = jmp("config", "client", "create", alias, *WHO, "-t", "secret")
        assert (done.returncode, f"Invalid client alias '{alias}'" in done.stderr) == (1, True)

    def test_at_a_terminal(self, terminal: Callable[..., Any], files: Path) -> None:
        with terminal("config", "client", "create", "lab", "--name", "me") as screen:
            screen.expect("Namespace of the client: ")
            screen.sendline("ns")
            screen.expect("Address of the service, host:port: ")
            screen.sendline("e:1")
            screen.expect("Token for the service: ")
            screen.sendline("secret")
            screen.expect(r"Allowed driver packages, with commas between \(Enter for none\): ")
            assert "secret" not in screen.before
            screen.sendline("")
            screen.expect("Client 'lab' created")
        content = yaml.safe_load((files / "clients" / "lab.yaml").read_text())
        assert (content["metadata"]["namespace"], content["token"]) == ("ns", "secret")
        assert content["drivers"] == {"allow": [], "unsafe": False}

    def test_a_terminal_is_asked_until_there_is_an_answer(self, terminal: Callable[..., Any], files: Path) -> None:
        who = ("--namespace", "ns", "--endpoint", "e:1", "--token", "secret", "--unsafe")
        with terminal("config", "client", "create", "lab", "--name", "", *who) as screen:
            screen.expect("Name of the client: ")
            screen.sendline("  ")
            screen.expect("Error: this must not be empty")
            screen.sendline(" me ")
        assert yaml.safe_load((files / "clients" / "lab.yaml").read_text())["metadata"]["name"] == "me"

    def test_interrupted(self, terminal: Callable[..., Any], files: Path) -> None:
        with terminal("config", "client", "create", "lab", code=2) as screen:
            screen.expect("Namespace of the client: ")
            # Python does not see an interrupt that comes just before it begins to wait for a line.
            screen.send("\x03")
            while screen.expect(["Aborted!", pexpect.TIMEOUT], timeout=1) != 0:
                screen.send("\x03")
        assert not files.exists()

    def test_a_token_that_no_process_list_shows(self, terminal: Callable[..., Any], files: Path) -> None:
        with terminal("config", "client", "create", "lab", *WHO, "--token", "-", "--nointeractive") as screen:
            screen.sendline("from-stdin")
        assert yaml.safe_load((files / "clients" / "lab.yaml").read_text())["token"] == "from-stdin"


class TestChoosingClients:
    def test_list(self, jmp: Program, create: Callable[[str], None], files: Path) -> None:
        assert jmp("config", "client", "list").stdout == "CURRENT  NAME  ENDPOINT  PATH\n"
        create("one")
        create("two")
        first, second = (files / "clients" / f"{name}.yaml" for name in ("one", "two"))
        assert jmp("config", "client", "list").stdout == (
            "CURRENT  NAME  ENDPOINT              PATH\n"
            f"*        one   grpc.example.com:443  {first}\n"
            f"         two   grpc.example.com:443  {second}\n"
        )
        listed = yaml.safe_load(jmp("config", "client", "list", "-o", "yaml").stdout)
        assert (listed["kind"], [item["path"] for item in listed["items"]]) == (
            "ClientConfigList",
            [str(first), str(second)],
        )

    def test_one_that_is_broken_hides_no_other(self, jmp: Program, create: Callable[[str], None], files: Path) -> None:
        create("good")
        broken = files / "clients" / "bad.yaml"
        broken.write_text("nonsense")
        done = jmp("config", "client", "list", "-o", "name")
        assert (done.returncode, done.stdout) == (1, "good\n")
        assert done.stderr == f"Error: {broken}:1:1: expected a mapping, got str 'nonsense'\n"

    def test_use(self, jmp: Program, create: Callable[[str], None], files: Path) -> None:
        create("one")
        create("two")
        path = files / "clients" / "two.yaml"
        assert jmp("config", "client", "use", "two").stdout == f"Client 'two' is the current one now: {path}\n"
        assert jmp("config", "client", "use", "two", "-o", "path").stdout == f"{path}\n"
        assert yaml.safe_load((files / "config.yaml").read_text())["config"] == {"current-client": "two"}
        assert stat.S_IMODE((files / "config.yaml").stat().st_mode) == 0o600
        done = jmp("config", "client", "use", "tow")
        assert (done.returncode, done.stdout) == (1, "")
        assert "There is no client configuration 'tow'" in done.stderr
        assert done.stderr.endswith("did you mean two?\n")

    def test_delete(self, jmp: Program, create: Callable[[str], None], files: Path) -> None:
        create("one")
        create("two")
        path = files / "clients" / "two.yaml"
        assert jmp("config", "client", "delete", "two", "-o", "path").stdout == f"{path}\n"
        assert not path.exists()
        done = jmp("config", "client", "del", "two")
        assert (done.returncode, "There is no client configuration 'two'" in done.stderr) == (1, True)

    def test_delete_the_current_one(self, jmp: Program, create: Callable[[str], None], files: Path) -> None:
        create("one")
        create("two")
        done = jmp("config", "client", "d", "one")
        assert done.stdout == f"Client 'one' deleted: {files / 'clients' / 'one.yaml'}\n"
        assert done.stderr == (
            "There is no current client now: choose one with `jmp config client use ALIAS` (there is: two).\n"
        )
        assert json.loads(jmp("config", "client", "list", "-o", "json").stdout)["currentConfig"] is None

    def test_a_terminal_is_asked_about_the_current_one(
        self, terminal: Callable[..., Any], create: Callable[[str], None], files: Path
    ) -> None:
        create("one")
        with terminal("config", "client", "delete", "one", code=2) as screen:
            screen.expect(r"'one' is the current client\. Delete it\? \[y/N\]: ")
            screen.sendline("")
        assert (files / "clients" / "one.yaml").exists()
        with terminal("config", "client", "delete", "one") as screen:
            screen.sendline("y")
            screen.expect("There is no current client now")
        assert not (files / "clients" / "one.yaml").exists()


class TestExporters:
    def test_from_a_script(self, jmp: Program, files: Path) -> None:
        done = jmp("config", "exporter", "create", "--name", "bench", "--token", "", "--nointeractive")
        path = files / "exporters" / "default.yaml"
        assert done.stdout == (
            f"Exporter 'default' created: {path}\nAdd its drivers with `jmp config exporter edit default`.\n"
        )
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        content = yaml.safe_load(path.read_text())
        assert content["metadata"] == {"namespace": None, "name": "bench"}
        assert "token" not in content
        assert jmp("exporter", "check", str(path)).returncode == 0
        again = jmp("config", "exporter", "create", "--name", "bench")
        assert (again.returncode, "exists already" in again.stderr) == (1, True)

    def test_what_is_missing_is_named(self, jmp: Program) -> None:
        done = jmp("config", "exporter", "create", "bench", "--nointeractive")
        assert (done.returncode, done.stderr.splitlines()[-1]) == (2, "Error: missing: --name")

    def test_at_a_terminal(self, terminal: Callable[..., Any], files: Path) -> None:
        with terminal("config", "exporter", "create", "bench") as screen:
            for question, answer in (("Namespace", ""), ("Name", "bench"), ("Address", "e:1"), ("Token", "")):
                screen.expect(question)
                screen.sendline(answer)
        content = yaml.safe_load((files / "exporters" / "bench.yaml").read_text())
        assert (content["metadata"]["name"], content["endpoint"], "token" in content) == ("bench", "e:1", False)

    def test_listed_and_deleted(self, jmp: Program, files: Path) -> None:
        jmp("config", "exporter", "create", "bench", "--name", "bench", "--endpoint", "e:1")
        path = files / "exporters" / "bench.yaml"
        assert jmp("config", "e", "ls").stdout == f"NAME   ENDPOINT  PATH\nbench  e:1       {path}\n"
        assert json.loads(jmp("config", "exporter", "list", "-o", "json").stdout)["items"][0]["alias"] == "bench"
        done = jmp("config", "exporter", "delete", "bnech")
        assert (done.returncode, done.stderr.endswith("did you mean bench?\n")) == (1, True)
        assert jmp("config", "exporter", "delete", "bench", "-o", "path").stdout == f"{path}\n"
        assert jmp("config", "exporter", "list", "-o", "name").stdout == ""


class TestEditing:
    @pytest.fixture
    def path(self, files: Path) -> Path:
        """The file of an exporter, a link as those who keep their dotfiles elsewhere have it."""
        target = files / "elsewhere.yaml"
        target.parent.mkdir(parents=True)
        target.write_text(GOOD)
        target.chmod(0o600)
        path = files / "exporters" / "bench.yaml"
        path.parent.mkdir()
        path.symlink_to(target)
        return path

    def test_from_a_script(self, jmp: Program, path: Path, editor: Callable[..., str]) -> None:
        done = jmp("config", "exporter", "edit", "bench", EDITOR=editor(f"{GOOD}motd: hi\n"))
        assert done.stdout == f"Exporter 'bench' saved: {path}\n", done.stderr
        assert (path.read_text(), path.is_symlink()) == (f"{GOOD}motd: hi\n", True)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_visual_goes_before_editor(self, jmp: Program, path: Path, editor: Callable[..., str]) -> None:
        done = jmp("config", "exporter", "edit", "bench", EDITOR="false", VISUAL=editor(f"{GOOD}motd: hi\n"))
        assert done.returncode == 0, done.stderr
        assert path.read_text() == f"{GOOD}motd: hi\n"

    def test_nothing_changed(self, jmp: Program, path: Path) -> None:
        done = jmp("config", "exporter", "edit", "bench", EDITOR="true")
        assert done.stdout == f"Exporter 'bench' is as it was: {path}\n"

    def test_mistakes_of_a_script_are_not_saved(self, jmp: Program, path: Path, editor: Callable[..., str]) -> None:
        done = jmp("config", "exporter", "edit", "bench", EDITOR=editor(BAD))
        assert done.returncode == 1
        assert done.stderr == f"Error: {path}:2:18: export.power.typ: unknown key; did you mean type?\n"
        assert path.read_text() == GOOD

    def test_back_into_the_editor(self, terminal: Callable[..., Any], path: Path, editor: Callable[..., str]) -> None:
        better = f"{GOOD}motd: hi\n"
        with terminal("config", "exporter", "edit", "bench", EDITOR=editor(BAD, BAD + "# again\n", better)) as screen:
            for _ in range(2):
                screen.expect(r"unknown key; did you mean type\?")
                screen.expect(r"Edit again \(e\), save all the same \(s\), or discard \(d\)\?")
                screen.sendline("")
            screen.expect("Exporter 'bench' saved")
        assert path.read_text() == better

    @pytest.mark.parametrize(("answer", "text"), [("s", BAD), ("d", GOOD)])
    def test_the_user_decides(
        self, terminal: Callable[..., Any], path: Path, editor: Callable[..., str], answer: str, text: str
    ) -> None:
        with terminal("config", "exporter", "edit", "bench", EDITOR=editor(BAD)) as screen:
            screen.expect(r"discard \(d\)")
            screen.sendline(answer)
        assert path.read_text() == text

    def test_an_interrupt_loses_no_text(
        self, terminal: Callable[..., Any], tmp_path: Path, path: Path, editor: Callable[..., str]
    ) -> None:
        command = ("config", "exporter", "edit", "bench")
        with terminal(*command, code=2, EDITOR=editor(BAD), TMPDIR=str(tmp_path)) as screen:
            screen.expect(r"discard \(d\)")
            screen.send("\x04")
            screen.expect(r"your text is kept in (\S+)")
            kept = Path(screen.match[1])
        assert (path.read_text(), kept.read_text()) == (GOOD, BAD)

    def test_a_file_that_is_protected(self, jmp: Program, path: Path, editor: Callable[..., str]) -> None:
        path.resolve().chmod(0o400)
        done = jmp("config", "exporter", "edit", "bench", EDITOR=editor(f"{GOOD}motd: hi\n"))
        assert done.returncode == 1
        assert "write-protected (mode 0400)" in done.stderr or "permission denied" in done.stderr
        assert path.read_text() == GOOD

    def test_an_editor_that_is_not_there(self, jmp: Program, path: Path) -> None:
        done = jmp("config", "exporter", "edit", "bench", EDITOR="no-such-editor")
        assert (done.returncode, "no-such-editor: Editing failed" in done.stderr) == (1, True)
        assert "Traceback" not in done.stderr

    def test_one_that_is_not_there(self, jmp: Program, path: Path) -> None:
        done = jmp("config", "exporter", "edit", "bensh", EDITOR="true")
        assert (done.returncode, done.stderr.endswith("did you mean bench?\n")) == (1, True)
