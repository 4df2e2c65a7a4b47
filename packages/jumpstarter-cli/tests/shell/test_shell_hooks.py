"""Hooks around `jmp shell`: what passes, fails or takes too long before and after, in every mode."""

from __future__ import annotations

import os
from typing import Any

import pytest

ACTIONS = ("warn", "endLease", "exit")
# Where the hook stands in the exporter's file.
LINE = 10
# How it goes on after it has driven the board.
OUTCOMES = {"pass": "exit 0", "fail": "exit 3", "timeout": "sleep 60"}


def hook(name: str, outcome: str, action: str) -> str:
    return f"""
    hooks:
      {name}:
        script: |
          j power on && echo "{name} drives the board" || echo "{name} cannot drive the board"
          {OUTCOMES[outcome]}
        timeout: {2 if outcome == "timeout" else 30}
        onFailure: {action}
    """


def reason(outcome: str) -> str:
    return {"fail": "Hook failed with exit code 3", "timeout": "Hook timed out after 2 seconds"}[outcome]


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_before(mode: str, outcome: str, action: str, bench: Any) -> None:
    service, way = bench.reach(mode, bench.file(hook("beforeLease", outcome, action)))
    refused = outcome != "pass" and action != "warn"
    process = bench.shell(way, "sh", "-c", "j power off && echo the child ran")
    out, err = process.communicate(timeout=60)
    assert process.returncode == (1 if refused else 0), err
    assert out == ("" if refused else "the child ran\n")
    if service is None or not refused:
        check_messages(err, "beforeLease", outcome)
    if service is not None and refused:
        assert service.end() == 1
        check_messages("\n".join(record["message"] for record in service.log), "beforeLease", outcome)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_after(mode: str, outcome: str, action: str, bench: Any) -> None:
    service, way = bench.reach(mode, bench.file(hook("afterLease", outcome, action)))
    failed = outcome != "pass" and action != "warn"
    process = bench.shell(way, "sh", "-c", "j power off && echo the child ran")
    out, err = process.communicate(timeout=60)
    assert process.returncode == (1 if failed else 0), err
    assert out == "the child ran\n"
    check_messages(err, "afterLease", outcome)
    if service is not None and failed and action == "exit":
        assert service.end() == 1


def check_messages(text: str, name: str, outcome: str) -> None:
    """The hook's output is there, and its failure with its name, its line and what it came to."""
    assert f"{name} drives the board" in text
    if outcome != "pass":
        assert f"x.yaml:{LINE}: {name}: {reason(outcome)}" in text
    else:
        assert "Hook" not in text


def test_the_childs_failure_wins(mode: str, bench: Any) -> None:
    _, way = bench.reach(mode, bench.file(hook("afterLease", "fail", "endLease")))
    process = bench.shell(way, "sh", "-c", "exit 7")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 7
    assert "afterLease hook failed" in err.splitlines()[-1]


def test_a_refusal_is_explained_to_a_client_that_waits(bench: Any) -> None:
    """The hook goes on when the client is there."""
    os.mkfifo(bench.home / "go")
    hooks = """
    hooks:
      beforeLease: {script: "read line < go; exit 4", onFailure: endLease}
    """
    service, way = bench.reach("direct", bench.file(hooks))
    process = bench.shell(way, "true")
    assert process.stderr.readline() == "Waiting for the exporter: Running beforeLease hook\n"
    (bench.home / "go").write_text("on\n")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"x.yaml:{LINE}: beforeLease: Hook failed with exit code 4" in err
    assert err.splitlines()[-1].startswith(
        "Error: the exporter refused the lease: "
        "beforeLease hook failed (on_failure=endLease): Hook failed with exit code 4"
    )
    assert service.end() == 1
