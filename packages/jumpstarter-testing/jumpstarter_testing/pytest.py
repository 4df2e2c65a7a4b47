"""`JumpstarterTest`, the base of test classes that share one connection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .sources import open_client


class JumpstarterTest:
    """`class TestBoard(JumpstarterTest)`: its tests share one `client`.

    It comes from an exporter file (option, marker on the class, or setting) or from the surrounding `jmp shell`, in the
    order that the fixture `client` has.
    """

    @pytest.fixture(scope="class")
    @classmethod
    def client(cls, request: pytest.FixtureRequest) -> Iterator[Any]:
        """The client of the device, for all tests of the class."""
        with open_client(request) as client:
            yield client
