import time

import pytest
from jumpstarter_testing.eventually import eventually


def test_returns_the_first_result():
    left = [ValueError("1"), AssertionError("2")]

    def attempt():
        if left:
            raise left.pop()
        return "done"

    assert eventually(attempt, interval=0) == "done"


def test_raises_the_last_error_when_time_is_up():
    attempts = []

    def attempt():
        attempts.append(1)
        raise ValueError(f"attempt {len(attempts)}")

    start = time.monotonic()
    with pytest.raises(ValueError, match="attempt") as error:
        eventually(attempt, timeout=0.2, interval=0.05)
    assert time.monotonic() - start < 2
    assert 2 <= len(attempts) <= 5
    assert str(error.value) == f"attempt {len(attempts)}"
    assert error.value.__notes__ == [f"eventually: still failing after {len(attempts)} attempts in 0.2 s"]


def test_lets_an_interrupt_through():
    def attempt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        eventually(attempt)
