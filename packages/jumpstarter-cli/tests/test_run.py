"""`jmp run` as a real process: exit codes, signals, passphrases, TLS, and what it says meanwhile."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from jumpstarter.common.exceptions import ConnectionError
from jumpstarter.common.utils import env
from jumpstarter_testing.certificates import Authority

JMP = Path(sys.executable).parent / "jmp"
SECONDS = 40
# A client that is refused is told so within this many seconds.
SOON = 1.0

EXPORTER = """
    apiVersion: jumpstarter.dev/v1alpha1
    kind: ExporterConfig
    metadata: {namespace: default, name: lab-1}
    export:
      power: {type: jumpstarter_driver_power.driver.MockPower}
"""


def clean_environment(**variables: str) -> dict[str, str]:
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(("JMP_", "JUMPSTARTER_"))}
    return inherited | variables


class Service:
    """A running `jmp run`, and its log."""

    def __init__(self, directory: Path, *args: str, **variables: str) -> None:
        self.process = subprocess.Popen(
            [str(JMP), *args],
            env=clean_environment(**variables),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self._news: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            self._news.put(line)
        self._news.put(None)

    def until(self, pattern: str) -> re.Match[str]:
        """The next message of its log that `pattern` is found in."""
        deadline = time.monotonic() + SECONDS
        while (line := self._news.get(timeout=max(0.0, deadline - time.monotonic()))) is not None:
            if found := re.search(pattern, json.loads(line)["message"]):
                return found
        raise AssertionError(f"ended with {self.process.wait()} before {pattern!r}: {''.join(self.lines)}")

    def port(self) -> int:
        return int(self.until(r"serves at \S+:(\d+) ")[1])

    def worker(self) -> psutil.Process:
        """The process that serves."""
        children = psutil.Process(self.process.pid).children()
        assert len(children) == 1
        return children[0]

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.send(number)
        return self.end()

    def end(self) -> int:
        """Its exit code, once it has ended; every line of its log was one of JSON."""
        code = self.process.wait(SECONDS)
        self._reader.join(SECONDS)
        assert self.process.stdout is not None
        assert self.process.stdout.read() == ""
        for line in self.lines:
            assert {"time", "level", "logger", "message"} <= json.loads(line).keys()
        return code

    def messages(self, level: str) -> list[str]:
        records = [json.loads(line) for line in self.lines]
        return [record["message"] for record in records if record["level"] == level]

    def discard(self) -> None:
        if self.process.poll() is None:
            for process in [*psutil.Process(self.process.pid).children(recursive=True), self.process]:
                process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.process.stdout.close()
        self.process.stderr.close()


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(textwrap.dedent(text))
    path.chmod(mode)
    return path


@contextmanager
def starting(directory: Path) -> Iterator[Callable[..., Service]]:
    with ExitStack() as stack:

        def start(*args: str, **variables: str) -> Service:
            service = Service(directory, *args, **variables)
            stack.callback(service.discard)
            return service

        yield start


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """`jmp` with any arguments, killed at the end."""
    with starting(tmp_path) as one:
        yield one


@pytest.fixture
def run(tmp_path: Path, start: Callable[..., Service]) -> Callable[..., Service]:
    """`jmp run` on the loopback interface, by default in plain text; `text` goes into its file, None for no file."""

    def serve(
        *args: str, text: str | None = EXPORTER, how: tuple[str, ...] = ("--tls-grpc-insecure",), **variables: str
    ) -> Service:
        if text is not None:
            write(tmp_path / "x.yaml", text)
        listener = ("--tls-grpc-listener", "127.0.0.1:0")
        return start("run", "--exporter-config", "x.yaml", *listener, *how, *args, **variables)

    return serve


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """The client that a shell with these variables has; by default of a plain port here."""

    def enter(address: int | str, insecure: str = "1", **variables: str) -> Any:
        host = f"127.0.0.1:{address}" if isinstance(address, int) else address
        ours = {"JUMPSTARTER_HOST": host, "JMP_GRPC_INSECURE": insecure, "JMP_DRIVERS_ALLOW": "UNSAFE"} | variables
        for name in [name for name in os.environ if name.startswith("JMP_GRPC_")]:
            monkeypatch.delenv(name)
        for name, value in ours.items():
            monkeypatch.setenv(name, value)
        return env()

    return enter


@pytest.fixture
def refused(connect: Callable[..., Any]) -> Callable[..., str]:
    """What a client is told that the exporter does not let in, within a second."""

    def attempt(*args: Any, **variables: str) -> str:
        begun = time.monotonic()
        with pytest.raises(ConnectionError) as caught, connect(*args, **variables):
            pass
        assert time.monotonic() - begun < SOON
        return str(caught.value)

    return attempt


class TestServing:
    def test_until_a_signal(self, run: Callable[..., Service], connect: Callable[..., Any]) -> None:
        service = run()
        with connect(service.port()) as client:
            client.power.on()
        service.until("power on")
        assert service.stop() == 0
        assert service.messages("ERROR") == []

    def test_says_how_to_connect(self, run: Callable[..., Service]) -> None:
        found = run().until(r"exporter lab-1 serves at 127\.0\.0\.1:(\d+) in plain text; to connect: (.*)")
        assert found[2] == f"jmp shell --tls-grpc 127.0.0.1:{found[1]} --tls-grpc-insecure"

    def test_logs_text_when_asked(self, tmp_path: Path) -> None:
        write(tmp_path / "x.yaml", EXPORTER.replace("kind", "kin"))
        done = subprocess.run(
            [
                JMP,
                "--log-format=text",
                "run",
                "--exporter-config=x.yaml",
                "--tls-grpc-listener=1",
                "--tls-grpc-insecure",
            ],
            env=clean_environment(),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 1
        assert re.match(r"\d\d:\d\d:\d\d ERROR jumpstarter_cli\.run: x\.yaml:3:\d+: ", done.stderr)

    def test_on_ipv6(self, tmp_path: Path, start: Callable[..., Service], connect: Callable[..., Any]) -> None:
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            pytest.skip("no IPv6 on this machine")
        write(tmp_path / "x.yaml", EXPORTER)
        listener = ("--tls-grpc-listener", "[::1]:0", "--tls-grpc-insecure")
        service = start("run", "--exporter-config", "x.yaml", *listener)
        found = service.until(r"serves at \[::1\]:(\d+) .*--tls-grpc \[::1\]:\d+ ")
        with connect(f"[::1]:{found[1]}") as client:
            client.power.on()

    def test_after_a_crash(self, run: Callable[..., Service], connect: Callable[..., Any]) -> None:
        service = run()
        service.port()
        service.worker().kill()
        with connect(service.port()) as client:
            client.power.on()
        assert service.stop() == 0
        assert any("was killed by signal 9 (SIGKILL)" in text for text in service.messages("ERROR"))

    def test_ends_with_the_first_client_on_request(
        self, run: Callable[..., Service], connect: Callable[..., Any]
    ) -> None:
        service = run("--exit-on-lease-end")
        with connect(service.port()) as client, client.log_stream():
            client.power.on()
        assert service.end() == 0


class TestExitCodes:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
    def test_a_signal_stops_gracefully(self, run: Callable[..., Service], number: signal.Signals) -> None:
        service = run()
        service.port()
        assert service.stop(number) == 0

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_second_one_cuts_the_stop_short(self, run: Callable[..., Service], number: signal.Signals) -> None:
        service = run(text=EXPORTER + "    hooks: {afterLease: {script: 'echo leaving; exec sleep 60', timeout: 90}}")
        service.port()
        worker = service.worker()
        service.send(signal.SIGTERM)
        service.until("^leaving$")
        hook = worker.children(recursive=True)
        assert hook != []
        # What comes in one go is meant as one; a second wish comes later.
        threading.Event().wait(0.5)
        assert service.stop(number) == 128 + number
        left = [process for process in [worker, *hook] if process.is_running()]
        assert [process for process in left if process.status() != psutil.STATUS_ZOMBIE] == []

    def test_a_hook_that_fails_for_good(self, run: Callable[..., Service]) -> None:
        service = run(text=EXPORTER + "    hooks: {beforeLease: {script: exit 3, onFailure: exit}}")
        assert service.end() == 1
        assert any("beforeLease: Hook failed with exit code 3" in text for text in service.messages("ERROR"))

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (EXPORTER.replace("type:", "typ:"), r"x\.yaml:6:\d+: .*typ.*type"),
            (EXPORTER.replace("MockPower", "MockPowr"), r"x\.yaml:6:.*MockPower"),
            ("[", r"x\.yaml:1:"),
            (None, r"x\.yaml: there is no such file"),
        ],
    )
    def test_a_file_with_mistakes(self, run: Callable[..., Service], text: str | None, message: str) -> None:
        service = run(text=text)
        assert service.end() == 1
        assert len(service.lines) == 1
        assert re.search(message, service.messages("ERROR")[0])
        assert "Traceback" not in "".join(service.lines)

    def test_a_port_that_is_taken(self, start: Callable[..., Service], run: Callable[..., Service]) -> None:
        first = run()
        address = f"127.0.0.1:{first.port()}"
        second = start("run", "--exporter-config", "x.yaml", "--tls-grpc-listener", address, "--tls-grpc-insecure")
        assert second.end() == 1
        assert second.messages("ERROR") == [
            f"cannot listen on {address}: another program listens on port {address.rpartition(':')[2]}"
        ]

    @pytest.mark.parametrize(
        ("listener", "message"),
        [
            ("no-such-host.invalid:1234", "no host 'no-such-host.invalid' is known here"),
            ("192.0.2.1:1234", "this machine has no such address"),
        ],
    )
    def test_an_address_that_is_not_ours(
        self, tmp_path: Path, start: Callable[..., Service], listener: str, message: str
    ) -> None:
        write(tmp_path / "x.yaml", EXPORTER)
        service = start("run", "--exporter-config", "x.yaml", "--tls-grpc-listener", listener, "--tls-grpc-insecure")
        assert service.end() == 1
        assert service.messages("ERROR") == [f"cannot listen on {listener}: {message}"]


class TestTheCommandLine:
    @pytest.mark.parametrize(
        ("args", "code", "message"),
        [
            ("", 2, "give --exporter ALIAS or --exporter-config PATH"),
            ("--exporter-config x.yaml", 1, "give --tls-grpc-listener [HOST:]PORT: without a lease service"),
            ("--exporter-config x.yaml --tls-grpc-listener 1", 2, "give --tls-cert and --tls-key to serve with TLS"),
            ("--exporter-config x.yaml --tls-grpc-listener 1 --tls-cert a", 2, "give --tls-key to serve with TLS"),
            ("--exporter-config x.yaml --tls-grpc-listener 1 --tls-key a", 2, "give --tls-cert to serve with TLS"),
            (
                "--exporter-config x.yaml --tls-grpc-listener 1 --tls-cert a --tls-key b --tls-grpc-insecure",
                2,
                "--tls-grpc-insecure excludes --tls-cert and --tls-key",
            ),
            (
                "--exporter-config x.yaml --tls-grpc-listener 1 --tls-client-ca a --tls-grpc-insecure",
                2,
                "--tls-grpc-insecure excludes --tls-client-ca",
            ),
            ("--exporter-config x.yaml --tls-grpc-listener 65536", 2, "expected [HOST:]PORT"),
            ("--exporter-config x.yaml --tls-grpc-listener host", 2, "expected [HOST:]PORT"),
            ("--exporter-config x.yaml --tls-grpc-listener ::1:1234", 2, "brackets, as in [::1]:1234"),
            ("--exporter-config x.yaml --exporter y", 2, "exclude each other"),
        ],
    )
    def test_that_cannot_be(self, jmp: Callable[..., Any], args: str, code: int, message: str) -> None:
        done = jmp("run", *args.split())
        assert done.returncode == code
        assert message in done.stderr
        assert "Traceback" not in done.stderr


class TestReloading:
    def test_a_new_file(self, tmp_path: Path, run: Callable[..., Service], connect: Callable[..., Any]) -> None:
        service = run()
        service.port()
        before = service.worker().pid
        write(tmp_path / "x.yaml", EXPORTER.replace("power:", "supply:"))
        service.send(signal.SIGHUP)
        with connect(service.port()) as client:
            assert list(client.children) == ["supply"]
        assert service.worker().pid != before
        assert service.stop() == 0

    def test_when_the_client_has_left(
        self, tmp_path: Path, run: Callable[..., Service], connect: Callable[..., Any]
    ) -> None:
        service = run()
        with connect(service.port()) as client, client.log_stream():
            write(tmp_path / "x.yaml", EXPORTER.replace("power:", "supply:"))
            service.send(signal.SIGHUP)
            service.until("reloading when the present lease has ended")
            client.power.on()
        with connect(service.port()) as client:
            assert list(client.children) == ["supply"]

    def test_a_file_with_mistakes(
        self, tmp_path: Path, run: Callable[..., Service], connect: Callable[..., Any]
    ) -> None:
        service = run()
        port = service.port()
        before = service.worker().pid
        write(tmp_path / "x.yaml", EXPORTER.replace("MockPower", "MockPowr"))
        service.send(signal.SIGHUP)
        service.until(r"not reloaded, the exporter goes on as it was: .*x\.yaml:6:.*MockPowr")
        with connect(port) as client:
            client.power.on()
        assert service.worker().pid == before
        assert service.stop() == 0

    def test_a_file_that_breaks_before_the_client_has_left(
        self, tmp_path: Path, run: Callable[..., Service], connect: Callable[..., Any]
    ) -> None:
        service = run()
        port = service.port()
        before = service.worker().pid
        with connect(port) as client, client.log_stream():
            service.send(signal.SIGHUP)
            service.until("reloading when the present lease has ended")
            write(tmp_path / "x.yaml", EXPORTER.replace("MockPower", "MockPowr"))
        service.until(r"not reloaded, the exporter goes on as it was: .*MockPowr")
        with connect(port) as client, client.log_stream():
            client.power.on()
        assert service.worker().pid == before
        assert service.stop() == 0

    def test_while_a_client_is_lost(
        self, tmp_path: Path, run: Callable[..., Service], connect: Callable[..., Any]
    ) -> None:
        service = run(text=f"{EXPORTER}    clientLost: {{run: [power.off], grace: 1}}\n")
        with connect(service.port()) as client, client.log_stream():
            client.power.on()
        service.send(signal.SIGHUP)
        service.until("reloading when the present lease has ended")
        service.until("the client was lost: power.off was called")
        service.port()
        assert service.stop() == 0

    def test_a_certificate_with_mistakes(self, tmp_path: Path, run: Callable[..., Service]) -> None:
        pair = Authority(tmp_path).issue()
        service = run(how=("--tls-cert", "server.pem", "--tls-key", "server.key"))
        service.port()
        pair.certificate.write_text("nonsense")
        service.send(signal.SIGHUP)
        service.until(r"not reloaded, the exporter goes on as it was: server\.pem: expected a certificate in PEM")
        assert service.stop() == 0


SECRET = "open-sesame-4711"


def command_lines() -> str:
    """Of all processes that the system tells of."""
    return "\n".join(" ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"]))


class TestAPassphrase:
    @pytest.mark.parametrize("source", ["option", "option=", "file", "variable"])
    def test_is_asked_for(
        self,
        tmp_path: Path,
        run: Callable[..., Service],
        connect: Callable[..., Any],
        refused: Callable[..., str],
        source: str,
    ) -> None:
        write(tmp_path / "secret", f"{SECRET}\n")
        args, variables = {
            "option": (("--passphrase", SECRET), {}),
            "option=": ((f"--passphrase={SECRET}",), {}),
            "file": (("--passphrase-file", "secret"), {}),
            "variable": ((), {"JMP_EXPORTER_PASSPHRASE": SECRET}),
        }[source]
        service = run(*args, **variables)
        found = service.until(r"serves at \S+:(\d+) .*--passphrase-file FILE$")
        port = int(found[1])
        assert "wants a passphrase" in refused(port)
        assert "refuses the passphrase" in refused(port, JMP_GRPC_PASSPHRASE="open-barley")
        assert "refuses the passphrase" in refused(port, JMP_GRPC_PASSPHRASE=SECRET[:-1])
        with connect(port, JMP_GRPC_PASSPHRASE=SECRET) as client:
            client.power.on()
        assert "jmp run --exporter-config x.yaml" in command_lines()
        assert SECRET not in command_lines()
        assert service.stop() == 0
        assert SECRET not in "".join(service.lines)
        assert service.messages("WARNING") == []

    def test_survives_a_new_start(self, run: Callable[..., Service], refused: Callable[..., str]) -> None:
        service = run(JMP_EXPORTER_PASSPHRASE=SECRET)
        service.port()
        service.send(signal.SIGHUP)
        assert "wants a passphrase" in refused(service.port())

    def test_stays_hidden_in_a_new_start(self, run: Callable[..., Service]) -> None:
        service = run("--passphrase", SECRET)
        service.port()
        service.send(signal.SIGHUP)
        service.port()
        assert SECRET not in command_lines()

    def test_is_kept_from_hooks_and_drivers(self, tmp_path: Path, run: Callable[..., Service]) -> None:
        hook = "    hooks: {beforeLease: {script: 'env > seen; echo written'}}"
        service = run(text=EXPORTER + hook, JMP_EXPORTER_PASSPHRASE=SECRET)
        service.until("^written$")
        assert "LEASE_NAME" in (tmp_path / "seen").read_text()
        assert SECRET not in (tmp_path / "seen").read_text()

    @pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o400, False), (0o640, True), (0o644, True)])
    def test_in_a_file_that_others_can_read(
        self, tmp_path: Path, run: Callable[..., Service], mode: int, warned: bool
    ) -> None:
        write(tmp_path / "secret", SECRET, mode)
        service = run("--passphrase-file", "secret")
        service.port()
        text = "secret: others can get at this passphrase; make the file yours alone: chmod 600 secret"
        assert service.messages("WARNING") == ([text] if warned else [])

    def test_from_a_pipe(self, tmp_path: Path, run: Callable[..., Service], connect: Callable[..., Any]) -> None:
        os.mkfifo(tmp_path / "pipe")
        service = run("--passphrase-file", "pipe")
        (tmp_path / "pipe").write_text(f"{SECRET}\r\n")
        with connect(service.port(), JMP_GRPC_PASSPHRASE=SECRET) as client:
            client.power.on()

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"", "secret: the passphrase is empty"),
            (b"\n", "secret: the passphrase is empty"),
            (b"one\ntwo\n", "secret: a passphrase may hold printable ASCII characters only"),
            ("zaubersprüche".encode(), "secret: a passphrase may hold printable ASCII characters only"),
            (b"\xff\xfe", "secret: not a text file in UTF-8"),
            (b"x" * 5000, "secret: a passphrase has at most 4096 characters"),
            (None, "secret: No such file or directory"),
        ],
    )
    def test_file_that_cannot_be(
        self, jmp: Callable[..., Any], tmp_path: Path, data: bytes | None, message: str
    ) -> None:
        write(tmp_path / "x.yaml", EXPORTER)
        if data is not None:
            (tmp_path / "secret").write_bytes(data)
            (tmp_path / "secret").chmod(0o600)
        listener = ("--tls-grpc-listener", "127.0.0.1:0", "--tls-grpc-insecure")
        done = jmp("run", "--exporter-config", "x.yaml", *listener, "--passphrase-file", "secret")
        assert done.returncode == 1
        assert done.stderr == f"Error: {message}\n"

    @pytest.mark.parametrize(
        ("args", "code", "message"),
        [
            (["--passphrase", "", "--tls-grpc-insecure"], 1, "--passphrase: the passphrase is empty"),
            (["--passphrase", "grün", "--tls-grpc-insecure"], 1, "--passphrase: a passphrase may hold printable"),
            (["--passphrase", "grün", "--passphrase-file", "x"], 2, "--passphrase and --passphrase-file exclude"),
        ],
    )
    def test_option_that_cannot_be(self, jmp: Callable[..., Any], args: list[str], code: int, message: str) -> None:
        done = jmp("run", "--exporter-config", "x.yaml", "--tls-grpc-listener", "127.0.0.1:0", *args)
        assert done.returncode == code
        assert message in done.stderr
        assert "grün" not in done.stderr

    @pytest.mark.parametrize(
        ("listener", "args", "warning"),
        [
            ("0", ("--passphrase-file", "secret"), "clients send the passphrase in plain text"),
            ("localhost:0", ("--passphrase-file", "secret"), None),
            ("0", (), "anyone who can reach this port can drive the board"),
            ("127.0.0.1:0", (), None),
        ],
    )
    def test_warning_where_strangers_could_hear_or_come(
        self, tmp_path: Path, start: Callable[..., Service], listener: str, args: tuple[str, ...], warning: str | None
    ) -> None:
        write(tmp_path / "secret", SECRET)
        write(tmp_path / "x.yaml", EXPORTER)
        how = ("--tls-grpc-listener", listener, "--tls-grpc-insecure")
        service = start("run", "--exporter-config", "x.yaml", *how, *args)
        service.port()
        assert [text.partition(":")[0].partition(", for")[0] for text in service.messages("WARNING")] == (
            [warning] if warning else []
        )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


class TestTls:
    SERVER = ("--tls-cert", "server.pem", "--tls-key", "server.key")

    def test_with_a_passphrase(
        self,
        authority: Authority,
        run: Callable[..., Service],
        connect: Callable[..., Any],
        refused: Callable[..., str],
    ) -> None:
        authority.issue()
        service = run(how=self.SERVER, JMP_EXPORTER_PASSPHRASE=SECRET)
        found = service.until(r"serves at \S+:(\d+) with TLS; to connect: jmp shell (.*)")
        address = f"localhost:{found[1]}"
        assert found[2] == f"--tls-grpc 127.0.0.1:{found[1]} --tls-ca CA.pem --passphrase-file FILE"
        trusting = {"insecure": "", "JMP_GRPC_CA": str(authority.certificate)}
        with connect(address, **trusting, JMP_GRPC_PASSPHRASE=SECRET) as client:
            client.power.on()
        assert "wants a passphrase" in refused(address, **trusting)
        assert "refuses the passphrase" in refused(address, **trusting, JMP_GRPC_PASSPHRASE="wrong")
        assert "is signed by an authority unknown here" in refused(address, insecure="", JMP_GRPC_PASSPHRASE=SECRET)
        assert "serves with TLS" in refused(address, JMP_GRPC_PASSPHRASE=SECRET)
        assert service.stop() == 0

    def test_on_both_sides(
        self,
        authority: Authority,
        run: Callable[..., Service],
        connect: Callable[..., Any],
        refused: Callable[..., str],
    ) -> None:
        authority.issue()
        shown = authority.issue("client")
        service = run(how=(*self.SERVER, "--tls-client-ca", "authority.pem"))
        address = f"localhost:{service.port()}"
        trusting = {"insecure": "", "JMP_GRPC_CA": str(authority.certificate)}
        with connect(address, **trusting, JMP_GRPC_CERT=str(shown.certificate), JMP_GRPC_KEY=str(shown.key)) as client:
            client.power.on()
        assert "wants a client certificate" in refused(address, **trusting)
        assert service.stop() == 0
        assert service.messages("WARNING") == []

    def test_hint_names_a_host_of_the_certificate(self, authority: Authority, run: Callable[..., Service]) -> None:
        authority.issue(hosts=["*.lab", "board.lab"])
        assert run(how=self.SERVER).until(r"--tls-grpc (\S+):\d+")[1] == "board.lab"

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            (("absent.pem", "server.key"), r"absent\.pem: No such file or directory"),
            (("server.pem", "absent.key"), r"absent\.key: No such file or directory"),
            (("server.pem", "other.key"), r"other\.key: not the private key of the certificate in server\.pem"),
            (("server.key", "server.pem"), r"server\.key: expected a certificate in PEM; .* swapped\?"),
            (("old.pem", "old.key"), r"old\.pem: the certificate has expired"),
            (("locked.pem", "locked.key"), r"locked\.key: the private key is encrypted"),
        ],
    )
    def test_files_that_cannot_be(
        self, authority: Authority, run: Callable[..., Service], args: tuple[str, str], message: str
    ) -> None:
        authority.issue()
        authority.issue("other")
        authority.issue("old", valid_from=-3, valid_to=-2)
        authority.issue("locked", password=b"secret")
        service = run(how=("--tls-cert", args[0], "--tls-key", args[1]))
        assert service.end() == 1
        assert len(service.lines) == 1
        assert re.match(message, service.messages("ERROR")[0])
