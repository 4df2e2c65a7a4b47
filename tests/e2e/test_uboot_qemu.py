"""The main job on a real bootloader: Debian's U-Boot in QEMU, switched by a relay driver, on its own serial line."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from jumpstarter.common.utils import serve
from jumpstarter.config.exporter import ExporterConfigV1Alpha1

UBOOT = "/usr/lib/u-boot/qemu_arm64/u-boot.bin"
pytestmark = [pytest.mark.peer("qemu-system-aarch64"), pytest.mark.peer("socat"), pytest.mark.peer(UBOOT)]

EXPORTER = """\
metadata:
  name: uboot-in-qemu
export:
  power:
    type: jumpstarter_driver_power.driver.CommandPower
    config:
      power_on: >-
        qemu-system-aarch64 -M virt -cpu cortex-a57 -m 128 -nic none -display none -monitor none -bios {uboot}
        -chardev serial,id=uart,path={directory}/uart -serial chardev:uart
        -daemonize -pidfile {directory}/pid
      power_off: pid=$(cat {directory}/pid) && kill -KILL $pid && tail --pid=$pid -s 0.05 -f /dev/null
  serial:
    type: jumpstarter_driver_serial.driver.Serial
    config:
      url: {directory}/console
"""
"""`tail --pid` waits until the process is gone."""


@pytest.fixture
def cable(tmp_path: Path) -> Iterator[Path]:
    """A null-modem cable that stays while the board goes: what goes in at `uart` comes out at `console`, and back."""
    ends = [f"pty,raw,echo=0,link={tmp_path / name}" for name in ("uart", "console")]
    with subprocess.Popen(["socat", "-d", "-d", *ends], stderr=subprocess.PIPE, text=True) as socat:
        assert socat.stderr is not None
        assert any("starting data transfer loop" in line for line in socat.stderr)
        yield tmp_path
        socat.terminate()
        socat.communicate()


@pytest.fixture
def exporter(cable: Path) -> Iterator[Any]:
    text = EXPORTER.format(uboot=UBOOT, directory=shlex.quote(str(cable)))
    with serve(ExporterConfigV1Alpha1.load_text(text).build()) as client:
        yield client
    if (pid := board(cable)) is not None:
        pid.kill()


def board(directory: Path) -> psutil.Process | None:
    """The process that is the board, None when it is off."""
    file = directory / "pid"
    if not file.exists():
        return None
    try:
        process = psutil.Process(int(file.read_text()))
        return process if "qemu" in process.name() else None
    except psutil.NoSuchProcess:
        return None


def test_uboot_from_power_on_to_power_off(exporter: Any, cable: Path) -> None:
    with exporter.serial.pexpect() as console:
        console.timeout = 30
        assert board(cable) is None
        for _ in range(2):  # the console outlives the power cycle
            exporter.power.on()
            running = board(cable)
            assert running is not None

            console.expect_exact("Hit any key to stop autoboot")
            console.send(" ")
            console.expect_exact("=> ")

            console.send("version\r")
            console.expect_exact("=> ")
            assert re.search(rb"\r\nU-Boot \d{4}\.\d{2}", console.before)

            console.send("printenv\r")
            console.expect(rb"Environment size: \d+/\d+ bytes")
            assert b"\r\nbootcmd=run distro_bootcmd\r\n" in console.before
            assert b"greeting=" not in console.before
            console.expect_exact("=> ")

            console.send("setenv greeting hello from a test\r")
            console.expect_exact("=> ")
            console.send("printenv greeting\r")
            console.expect_exact("\r\ngreeting=hello from a test\r\n")
            console.expect_exact("=> ")

            exporter.power.off()
            assert board(cable) is None
            assert not running.is_running()
