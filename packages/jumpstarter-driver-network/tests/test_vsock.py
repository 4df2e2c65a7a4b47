from __future__ import annotations

import pytest
from jumpstarter.client.core import DriverError
from jumpstarter.common.utils import serve
from jumpstarter_driver_network.driver import VsockNetwork


def test_a_machine_that_cannot_be_reached_is_named():
    with serve(VsockNetwork(cid=3, port=4_000_000_000)) as client:
        with pytest.raises(DriverError, match="cannot connect to vsock://3:4000000000: "), client.stream():
            pass
