from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

HEAVY = {"click", "fabric", "paramiko", "pexpect", "websockets"}


def test_importing_loads_no_library_before_it_is_used():
    program = (
        "import sys, jumpstarter_driver_network.adapters, jumpstarter_driver_network.client,"
        f" jumpstarter_driver_network.driver; print(*({HEAVY!r} & sys.modules.keys()))"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert loaded.stdout.split() == []


@pytest.mark.parametrize(
    ("module", "extra", "use"),
    [
        ("websockets", "websocket", "adapters.NovncAdapter(client=client)"),
        ("fabric", "fabric", "adapters.FabricAdapter(client=client)"),
    ],
)
def test_a_missing_library_is_named_with_what_to_install(module: str, extra: str, use: str):
    program = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {module!r}:
            raise ModuleNotFoundError("absent", name=name)

sys.meta_path.insert(0, Absent())
from jumpstarter.common.utils import serve
from jumpstarter_driver_network import adapters
from jumpstarter_driver_network.driver import EchoNetwork
with serve(EchoNetwork()) as client, {use}:
    pass
"""
    failed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    expected = f"ImportError: {module} is not installed: pip install 'jumpstarter-driver-network[{extra}]'"
    assert failed.stderr.strip().splitlines()[-1] == expected


@pytest.mark.parametrize(
    ("group", "names"),
    [
        ("jumpstarter.drivers", {"EchoNetwork", "TcpNetwork", "UdpNetwork", "UnixNetwork"}),
        ("jumpstarter.adapters", {"Novnc", "Pexpect", "TcpPortforward", "UnixPortforward"}),
    ],
)
def test_entry_points_load(group: str, names: set[str]):
    ours = [point for point in entry_points(group=group) if point.value.startswith("jumpstarter_driver_network.")]
    offered = {point.name: point for point in ours}
    assert offered.keys() == names
    for point in offered.values():
        assert callable(point.load())
