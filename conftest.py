"""What every test of the workspace runs under; see CONTRIBUTING.md."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import HealthCheck, settings

CI = os.environ.get("CI", "").lower() in {"1", "true"}
PACKAGES = sorted(path.name for path in Path(__file__).parent.glob("packages/*/jumpstarter*") if path.is_dir())

# The tests start a thousand programs of ours, and each would compile all that it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Daemons such as ser2net live where an ordinary user's PATH does not look.
os.environ["PATH"] += os.pathsep + os.pathsep.join(["/usr/local/sbin", "/usr/sbin", "/sbin"])

# A slow machine is no failure: the limit is pytest's time-out.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("default", patient, max_examples=50)
settings.register_profile("ci", patient, max_examples=50, derandomize=True, print_blob=True)
settings.register_profile("soak", patient, max_examples=2000)


def pytest_configure(config: pytest.Config) -> None:
    # A shell that starts this in the background has interrupts ignored, and every process below inherits that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    settings.load_profile("soak" if wants_soak(config) else "ci" if CI else "default")


def wants_soak(config: pytest.Config) -> bool:
    expression = config.getoption("markexpr")
    return "soak" in expression and "not soak" not in expression


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if wants_soak(config):
        return
    soak = [item for item in items if item.get_closest_marker("soak")]
    if soak:
        config.hook.pytest_deselected(items=soak)
        items[:] = [item for item in items if not item.get_closest_marker("soak")]


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("peer"):
        name = marker.args[0]
        if not (Path(name).exists() if name.startswith("/") else shutil.which(name)):
            absent = f"{name} is not installed; `make test` installs it, or says how"
            pytest.fail(absent, pytrace=False) if CI else pytest.skip(absent)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def blockbuster() -> Iterator[BlockBuster]:
    """A call of ours that blocks an event loop, in whichever thread the loop runs, raises BlockingError."""
    with blockbuster_ctx(PACKAGES) as watch:
        yield watch
