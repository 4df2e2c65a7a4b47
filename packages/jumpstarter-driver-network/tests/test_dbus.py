from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from jumpstarter.client.core import DriverConnectionError, DriverOSError
from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.common.utils import serve
from jumpstarter_driver_network.adapters import DbusAdapter
from jumpstarter_driver_network.client import DbusNetworkClient
from jumpstarter_driver_network.driver import DbusNetwork


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[str]:
    """A private message bus; gives its address."""
    command = ["dbus-daemon", "--session", "--nofork", "--print-address", f"--address=unix:path={tmp_path}/bus"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        try:
            yield daemon.stdout.readline().strip()
        finally:
            daemon.terminate()


def names_on(kind: str) -> str:
    """Ask a real program for the names on the bus it finds."""
    command = ["dbus-send", f"--{kind}", "--print-reply", "--dest=org.freedesktop.DBus"]
    command += ["/org/freedesktop/DBus", "org.freedesktop.DBus.ListNames"]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=20, check=True).stdout


@pytest.mark.peer("dbus-daemon")
@pytest.mark.peer("dbus-send")
@pytest.mark.parametrize("kind", ["system", "session"])
def test_programs_use_the_bus_of_the_exporter(bus: str, monkeypatch: pytest.MonkeyPatch, kind: str):
    variable = f"DBUS_{kind.upper()}_BUS_ADDRESS"
    exported = f"launchd:env=X;{bus}"
    monkeypatch.setenv(variable, exported)
    with serve(DbusNetwork(kind=kind)) as client:
        assert isinstance(client, DbusNetworkClient)
        assert client.kind == kind
        with DbusAdapter(client=client):
            assert os.environ[variable].startswith("tcp:host=127.0.0.1,port=")
            assert "org.freedesktop.DBus" in names_on(kind)
        assert os.environ[variable] == exported
        monkeypatch.delenv(variable)
        with client:
            assert "org.freedesktop.DBus" in names_on(kind)
        assert variable not in os.environ


def test_a_bus_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch):
    def connect_to(address: str) -> None:
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", address)
        with serve(DbusNetwork(kind="session")) as client, client.stream():
            pass

    with pytest.raises(DriverOSError, match="cannot connect to unix:/nonexistent/bus: No such file"):
        connect_to("unix:path=/nonexistent/bus")
    with pytest.raises(DriverConnectionError, match="cannot connect to unix:@no-such-bus: Connection refused"):
        connect_to("unix:abstract=no-such-bus")
    with pytest.raises(DriverConnectionError, match="'autolaunch:' names neither a Unix socket nor a TCP port"):
        connect_to("autolaunch:")
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with pytest.raises(DriverConnectionError, match="there is no session bus"):
        connect_to("")


def test_an_unknown_kind_is_refused():
    with pytest.raises(ConfigurationError, match="kind must be system or session, not 'user'"):
        DbusNetwork(kind="user")
