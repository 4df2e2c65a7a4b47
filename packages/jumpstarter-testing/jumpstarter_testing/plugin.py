"""The pytest plugin `jumpstarter`: the fixture `client`, its option, its setting and its marker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from .sources import OPTION, SETTING, open_client

if TYPE_CHECKING:
    from jumpstarter.driver import Driver


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("jumpstarter", "devices under test")
    group.addoption(OPTION, metavar="FILE", help="exporter file to serve to the fixture `client`")
    parser.addini(SETTING, "exporter file to serve to the fixture `client`, relative to this configuration")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{SETTING}(file): serve this exporter file to the fixture `client`")


@pytest.fixture
def jumpstarter_driver() -> Driver | None:
    """The driver that `client` serves; override it in a conftest.py or a test module."""
    return None


@pytest.fixture
def client(request: pytest.FixtureRequest, jumpstarter_driver: Driver | None) -> Iterator[Any]:
    """The client of a device, new for each test: drivers are reset before it and closed after it.

    The first of: `--jumpstarter-exporter`, the marker `jumpstarter_exporter`, the fixture `jumpstarter_driver`, the
    setting `jumpstarter_exporter`, the exporter that the surrounding `jmp shell` is connected to.
    """
    with open_client(request, jumpstarter_driver) as client:
        yield client
