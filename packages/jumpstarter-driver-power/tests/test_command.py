"""CommandPower: real commands, and what is left of them."""

import json
import logging
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest
from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.common.utils import serve, serve_async
from jumpstarter_driver_power.driver import CommandPower, PowerReading

# Three processes, one of which does not hear SIGTERM; all hold the FIFO open, none keeps the command's output.
STUBBORN = (
    "exec 9>{fifo} >/dev/null 2>&1; echo started >&9; sleep 600 & "
    "sh -c \"trap '' TERM; while :; do sleep 600; done\" & wait"
)


def power(**config: Any) -> CommandPower:
    return CommandPower(**{"power_on": "true", "power_off": "true", **config})


def test_on_off_and_rescue_run_their_commands(tmp_path: Path) -> None:
    log = tmp_path / "log"
    driver = power(
        power_on=f"echo on >> {log}",
        power_off=["sh", "-c", f'echo "$1" >> {log}', "sh", "off; with $pecial words"],
        power_rescue=f"echo rescue >> {log}",
    )
    with serve(driver) as client:
        client.on()
        client.off()
        client.rescue()
        assert "rescue" in client.cli().commands
    assert log.read_text().splitlines() == ["on", "off; with $pecial words", "rescue"]


def test_working_directory_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THE_EXPORTER", "kept")
    command = 'echo "$PWD $OUTLET $OF_THE_EXPORTER" > told'
    with serve(power(power_on=command, cwd=str(tmp_path), env={"OUTLET": "7"})) as client:
        client.on()
    assert (tmp_path / "told").read_text() == f"{tmp_path} 7 kept\n"


def test_output_goes_to_the_log_line_by_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), serve(power(power_on="echo out; echo err >&2; printf tail")) as client:
        client.on()
    lines = [record.getMessage() for record in caplog.records if record.name == "driver.CommandPower"]
    assert lines[0] == "power_on: `echo out; echo err >&2; printf tail`"
    assert sorted(lines[1:]) == ["power_on: err", "power_on: out", "power_on: tail"]


def test_failure_names_command_code_and_last_words() -> None:
    with serve(power(power_off="seq 1 9 >&2; exit 3")) as client, pytest.raises(OSError, match="power_off") as caught:
        client.off()
    assert "`seq 1 9 >&2; exit 3` failed with exit code 3: 5\n6\n7\n8\n9" in str(caught.value)


def test_failure_without_stderr_quotes_stdout() -> None:
    with serve(power(power_on="echo no such outlet; false")) as client:
        with pytest.raises(OSError, match="failed with exit code 1: no such outlet"):
            client.on()


def test_command_ended_by_a_signal() -> None:
    with serve(power(power_on="kill -HUP $$")) as client, pytest.raises(OSError, match="was ended by SIGHUP"):
        client.on()


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"power_on": ["no-such-tool", "--on"]},
            r"power_on: command `no-such-tool --on` cannot be started: No such file",
        ),
        (
            {"power_on": "no-such-tool --on"},
            r"`no-such-tool --on` failed with exit code 127: .*no-such-tool.*not found",
        ),
        ({"power_on": ["/dev/null"]}, r"command `/dev/null` cannot be started: Permission denied"),
        (
            {"power_on": ["true"], "cwd": "/no/such/place"},
            r"cannot be started: No such file or directory: '/no/such/place'",
        ),
    ],
)
def test_command_that_cannot_be_run(config: dict[str, Any], expected: str) -> None:
    with serve(power(**config)) as client, pytest.raises(OSError, match=expected):
        client.on()


def test_much_output_neither_blocks_nor_floods() -> None:
    flood = "head -c 3000000 /dev/zero | tr '\\0' x; head -c 3000000 /dev/zero | tr '\\0' y >&2; exit 1"
    with serve(power(power_on=flood)) as client, pytest.raises(OSError, match=r"exit code 1: y+$") as caught:
        client.on()
    assert len(str(caught.value)) < 2000


def test_timeout_ends_the_whole_group(fifo: Any) -> None:
    command = STUBBORN.format(fifo=fifo.path)
    with serve(power(power_on=command, timeout=1)) as client:
        with pytest.raises(TimeoutError, match=r"power_on: command `exec 9.* did not end within 1 s and was killed"):
            client.on()
        assert fifo.read() == b"started\n"
        assert fifo.read() == b""
        client.off()


def test_timeout_grants_time_to_clean_up(tmp_path: Path) -> None:
    # The shell dies of SIGTERM at once; its child, which takes its time, must still get it.
    child = f"trap 'sleep 0.1; echo clean > {tmp_path}/state; exit' TERM; while :; do sleep 0.05; done"
    with serve(power(power_on=f'sh -c "{child}"; true', timeout=1)) as client, pytest.raises(TimeoutError):
        client.on()
    assert (tmp_path / "state").read_text() == "clean\n"


def test_cancelled_call_ends_the_whole_group(fifo: Any) -> None:
    async def main() -> None:
        async with serve_async(power(power_on=STUBBORN.format(fifo=fifo.path))) as client:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.call_async, "on")
                await anyio.wait_readable(fifo.fd)
                assert fifo.read() == b"started\n"
                tasks.cancel_scope.cancel()
            with anyio.fail_after(5):
                await anyio.wait_readable(fifo.fd)
            assert fifo.read() == b""
            await client.call_async("off")

    anyio.run(main)


def test_closing_the_exporter_ends_what_runs(fifo: Any) -> None:
    with ThreadPoolExecutor() as pool:
        with serve(power(power_on=STUBBORN.format(fifo=fifo.path))) as client:
            call = pool.submit(client.on)
            assert fifo.read() == b"started\n"
        assert call.exception(timeout=10) is not None
    assert fifo.read() == b""


def test_closing_the_driver_ends_what_runs(fifo: Any) -> None:
    driver = power(power_on=STUBBORN.format(fifo=fifo.path))
    with ThreadPoolExecutor() as pool, serve(driver) as client:
        call = pool.submit(client.on)
        assert fifo.read() == b"started\n"
        driver.close()
        with pytest.raises(OSError, match="was ended by SIGKILL"):
            call.result(timeout=10)
        assert fifo.read() == b""


@pytest.mark.parametrize("output", ["", ">/dev/null 2>&1"])
def test_what_a_command_leaves_running_stays(tmp_path: Path, output: str) -> None:
    with serve(power(power_on=f"sleep 600 {output} & echo $! > {tmp_path}/pid")) as client:
        client.on()
    left = psutil.Process(int((tmp_path / "pid").read_text()))
    assert left.status() != psutil.STATUS_ZOMBIE
    left.kill()


def test_switching_is_one_at_a_time(tmp_path: Path) -> None:
    log = tmp_path / "log"
    steps = f"echo start >> {log}; sleep 0.1; echo end >> {log}"
    with serve(power(power_on=steps, power_off=steps)) as client, ThreadPoolExecutor() as pool:
        for call in [pool.submit(method) for method in (client.on, client.off, client.on)]:
            call.result(timeout=10)
    assert log.read_text().split() == ["start", "end"] * 3


def test_switching_does_not_wait_for_reading(tmp_path: Path, fifo: Any) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with serve(power(power_read=f"echo started > {fifo.path}; cat {gate}")) as client, ThreadPoolExecutor() as pool:
        reading = pool.submit(lambda: list(client.read()))
        assert fifo.read() == b"started\n"
        client.on()
        gate.write_text("1 2\n")
        assert reading.result(timeout=10) == [PowerReading(voltage=1, current=2)]


@pytest.mark.parametrize(
    ("printed", "readings"),
    [
        ("12.1 V 0.42 A", [(12.1, 0.42)]),
        ("12.1 0.42\n12.2 0.43\n", [(12.1, 0.42), (12.2, 0.43)]),
        (json.dumps({"voltage": 5, "current": 1.5}, indent=2), [(5.0, 1.5)]),
    ],
)
def test_read(printed: str, readings: list[tuple[float, float]]) -> None:
    with serve(power(power_read=["printf", "%s", printed])) as client:
        assert list(client.read()) == [PowerReading(voltage=v, current=i) for v, i in readings]


def test_read_says_what_it_expected() -> None:
    with serve(power(power_read="echo E: no meter")) as client:
        with pytest.raises(Exception, match=r"power_read: `echo E: no meter`: expected lines .*; got 'E: no meter'"):
            list(client.read())


def test_read_of_too_much_is_refused() -> None:
    with serve(power(power_read="yes 1 2 | head -c 2000000")) as client:
        with pytest.raises(Exception, match=r"power_read: .*: more than 1048576 bytes of output"):
            list(client.read())


def test_read_fails_as_the_command_does() -> None:
    with serve(power(power_read="echo 1 2; echo no meter >&2; exit 4")) as client:
        with pytest.raises(OSError, match=r"power_read: .* exit code 4: no meter"):
            list(client.read())


@pytest.mark.parametrize(("method", "key"), [("read", "power_read"), ("rescue", "power_rescue")])
def test_what_is_not_configured(method: str, key: str) -> None:
    with serve(power()) as client, pytest.raises(NotImplementedError, match=f"{key} is not configured"):
        list(getattr(client, method)() or [])


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"power_on": ""}, "power_on: must be a command"),
        ({"power_on": []}, "power_on: must be a command"),
        ({"power_on": None}, "power_on: must be a command"),
        ({"power_off": True}, "power_off: must be a command, as a string or a list of strings, not True"),
        ({"power_off": ["set", 1]}, "power_off: must be a command"),
        ({"power_read": " "}, "power_read: must be a command"),
        ({"timeout": 0}, "timeout: must be a number of seconds above 0, not 0"),
        ({"timeout": True}, "timeout: must"),
        ({"timeout": "soon"}, "timeout: must"),
        ({"timeout": float("nan")}, "timeout: must"),
        ({"timeout": float("inf")}, "timeout: must"),
        ({"env": {"OUTLET": 7}}, "env: must be a mapping of names to texts"),
        ({"env": ["A=1"]}, "env: must"),
    ],
)
def test_bad_configuration(config: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected):
        power(**config)


def test_many_commands_leave_nothing_behind() -> None:
    with serve(power(power_read="echo 1 2")) as client:
        client.on()
        files, children = len(os.listdir("/proc/self/fd")), psutil.Process().children()
        for _ in range(20):
            client.on()
            list(client.read())
        assert len(os.listdir("/proc/self/fd")) <= files
        assert set(psutil.Process().children()) <= set(children)


def test_a_stopped_command_is_ended_too(fifo: Any) -> None:
    command = f"exec 9>{fifo.path}; echo started >&9; kill -STOP $$"
    started = time.monotonic()
    with serve(power(power_on=command, timeout=1)) as client, pytest.raises(TimeoutError):
        client.on()
    assert fifo.read() == b"started\n"
    assert fifo.read() == b""
    assert time.monotonic() - started < 5


def test_no_signal_reaches_the_exporter() -> None:
    caught: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: caught.append(number))
    try:
        with serve(power(power_on="kill -TERM 0; sleep 600", timeout=5)) as client:
            with pytest.raises(OSError, match="SIGTERM"):
                client.on()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert caught == []
