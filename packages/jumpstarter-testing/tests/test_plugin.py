"""The pytest plugin as its users run it: pytest in a process of its own, on files of theirs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from jumpstarter.common.enums import ExporterStatus
from jumpstarter.config.env import JMP_DRIVERS_ALLOW, JUMPSTARTER_HOST
from jumpstarter.driver import Driver
from jumpstarter.exporter import Session
from jumpstarter_driver_power.driver import MockPower

EXPORTER = """\
metadata:
  name: bench
export:
  {name}:
    type: jumpstarter_driver_power.driver.MockPower
"""

NAMES = """
def test_names(client):
    print("children:", *client.children)
    assert client.children
"""

DRIVER = """
import pytest
from jumpstarter_driver_composite.driver import Composite
from jumpstarter_driver_power.driver import MockPower

@pytest.fixture
def jumpstarter_driver():
    return Composite(children={"of_fixture": MockPower()})
"""


@pytest.fixture
def run(tmp_path: Path):
    """Runs pytest in `tmp_path`, with strict settings, outside of any shell."""

    def run(*arguments: str, ini: str = "", expect: int = 0, **environment: str) -> str:
        (tmp_path / "pytest.ini").write_text(
            "[pytest]\naddopts = --strict-markers -p no:cacheprovider -p no:hypothesispytest -p no:xdist -p no:anyio\n"
            + ini
        )
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-W", "error", "-s", *arguments],
            cwd=tmp_path,
            env={**{k: v for k, v in os.environ.items() if k != JUMPSTARTER_HOST}, **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        output = done.stdout + done.stderr
        assert done.returncode == expect, output
        assert "Traceback (most recent call last)" not in output
        return output

    return run


@pytest.fixture
def tests(tmp_path: Path):
    """Writes a file into `tmp_path`."""

    def write(text: str, name: str = "test_it.py") -> None:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    return write


def test_exporter_file_by_option(run, tests):
    tests(NAMES)
    tests(EXPORTER.format(name="of_option"), "lab/bench.yaml")
    assert "children: of_option" in run("--jumpstarter-exporter", "lab/bench.yaml")


def test_exporter_file_by_setting_is_relative_to_the_configuration(run, tests, tmp_path):
    tests(NAMES, "deep/test_it.py")
    tests(EXPORTER.format(name="of_setting"), "bench.yaml")
    assert "children: of_setting" in run("deep", ini="jumpstarter_exporter = bench.yaml")


def test_exporter_file_by_marker_is_relative_to_the_test(run, tests):
    tests("import pytest\npytestmark = pytest.mark.jumpstarter_exporter('bench.yaml')\n" + NAMES, "deep/test_it.py")
    tests(EXPORTER.format(name="of_marker"), "deep/bench.yaml")
    assert "children: of_marker" in run()


def test_driver_object(run, tests):
    tests(DRIVER + NAMES)
    assert "children: of_fixture" in run()


def test_the_closest_to_the_person_at_the_keyboard_wins(run, tests):
    tests(EXPORTER.format(name="of_option"), "option.yaml")
    tests(EXPORTER.format(name="of_setting"), "setting.yaml")
    tests(EXPORTER.format(name="of_marker"), "marker.yaml")
    marked = "\n@pytest.mark.jumpstarter_exporter('marker.yaml')" + NAMES.replace("test_names", "test_marked")
    tests(DRIVER + NAMES + marked)
    ini = "jumpstarter_exporter = setting.yaml"
    output = run(ini=ini)
    assert "children: of_fixture" in output
    assert "children: of_marker" in output
    assert run("--jumpstarter-exporter=option.yaml", ini=ini).count("children: of_option") == 2


@contextmanager
def shell(driver: Driver) -> Iterator[dict[str, str]]:
    """What `jmp shell` puts into the environment."""
    with Session(root_device=driver) as session, session.serve_unix() as path:
        session.update_status(ExporterStatus.LEASE_READY)
        yield {JUMPSTARTER_HOST: path, JMP_DRIVERS_ALLOW: "UNSAFE"}


def test_a_shell_that_is_gone_is_one_clear_message(run, tests):
    tests(NAMES)
    output = run(expect=1, **{JUMPSTARTER_HOST: "/nonexistent/socket"})
    assert "/nonexistent/socket" in output
    assert "jumpstarter/client" not in output


def test_each_test_has_its_own_session_of_a_driver(run, tests):
    tests(
        DRIVER.replace("@pytest.fixture", "@pytest.fixture(scope='session')")
        + """
def test_one(client):
    client.of_fixture.on()
    assert [r.current for r in client.of_fixture.read()] == [0, 2]

def test_two(client):
    assert [r.current for r in client.of_fixture.read()] == [0, 0]
"""
    )
    assert "2 passed" in run()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no such file"),
        ("metadata: {name: x}\nexport:\n  power:\n    typ: MockPower\n", "bench.yaml:4:"),
    ],
)
def test_a_wrong_exporter_file_is_one_clear_message(run, tests, text, message):
    tests(NAMES)
    if text is not None:
        tests(text, "bench.yaml")
    output = run("--jumpstarter-exporter=bench.yaml", expect=1)
    assert "cannot serve the exporter file" in output
    assert message in output
    assert "jumpstarter/config" not in output


def test_a_marker_without_a_path_is_refused(run, tests):
    tests("import pytest\npytestmark = pytest.mark.jumpstarter_exporter\n" + NAMES)
    assert "the marker jumpstarter_exporter takes one argument" in run(expect=1)


CLASS = """
from jumpstarter_testing.pytest import JumpstarterTest

class TestBoard(JumpstarterTest):
    def test_one(self, client):
        client.power.on()
        type(self).seen = client

    def test_two(self, client):
        assert client is self.seen
        assert [r.current for r in client.power.read()] == [0, 2]

class TestOther(JumpstarterTest):
    def test_three(self, client):
        assert client is not TestBoard.seen
"""


def test_jumpstarter_test_shares_one_client_in_a_class(run, tests):
    tests(CLASS)
    tests(EXPORTER.format(name="power"), "bench.yaml")
    assert "3 passed" in run("--jumpstarter-exporter=bench.yaml")


def test_nothing_to_serve_is_one_clear_message(run, tests):
    tests(NAMES + CLASS)
    output = run("-k", "names or three", expect=1)
    # In CI pytest says it again, whole, in its summary.
    report, _, _ = output.partition("short test summary info")
    assert report.count("this test has no device to talk to. Give it one:") == 2
    assert "pytest --jumpstarter-exporter FILE" in output
    assert "jmp shell ... -- pytest" in output
    assert "jumpstarter/" not in output.replace("jumpstarter-testing", "")  # no source lines of ours


def test_surrounding_shell(run, tests):
    tests("def test_power(client):\n    client.on()\n" + CLASS.replace("client.power.", "client."))
    driver = MockPower()
    with shell(driver) as environment:
        assert "4 passed" in run(**environment)
        assert driver.powered


def test_the_plugin_is_light_described_and_gives_way(run, tests):
    tests(
        "import pytest, sys\n"
        "@pytest.fixture\n"
        "def client(): return 'mine'\n"
        "def test_own_fixture(client): assert client == 'mine'\n"
        "def test_light(): assert not {'grpc', 'jumpstarter', 'pydantic'} & set(sys.modules)\n"
    )
    assert "2 passed" in run()
    assert "@pytest.mark.jumpstarter_exporter(file):" in run("--markers")
