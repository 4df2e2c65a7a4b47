"""The contract of every driver."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any
from uuid import UUID

from jumpstarter.client import DriverClient
from jumpstarter.client.resolve import ClientUnavailable, resolve_client
from jumpstarter.common.metadata import CLIENT_LABEL
from jumpstarter.driver import Driver

from .common import TIMEOUT, CheckFailed, served, within
from .exports import Kind, declared, exported, exported_names, interface_methods


def check_driver(driver: Driver, *, timeout: float = TIMEOUT) -> None:
    """Holds a driver, and all below it, against what every driver owes; calls none of its own methods.

    The client class can be imported; what an interface asks for is exported in the kind the interface declares;
    settings are keyword-only and annotated; descriptions belong to methods that exist; the report is well-formed; the
    tree can be served; `reset()` and `close()` can be repeated. The driver is closed afterwards. Raises CheckFailed.
    `timeout`: seconds for each step.
    """
    nodes = [(name or "root", node) for _, _, name, node in driver.enumerate()]
    for name, node in nodes:
        for check in (_check_client, _check_exports, _check_constructor, _check_life_cycle, _check_report):
            _named(name, node, check)
    for which in ("", " a second time"):
        within(timeout, f"{type(driver).__name__}: reset(){which}", driver.reset)
    with served(driver) as client:
        _check_tree(driver, client)
        for name, node in nodes:
            _named(name, node, lambda node: _check_descriptions(node, _find(client, node.uuid)))
    within(timeout, f"{type(driver).__name__}: close() a second time", driver.close)


def _named(name: str, node: Driver, check: Callable[[Driver], None]) -> None:
    try:
        check(node)
    except CheckFailed as e:
        raise CheckFailed(f"{type(node).__name__} ({name}): {e}") from e.__cause__


def _check_client(driver: Driver) -> None:
    path = driver.client()
    if not isinstance(path, str) or "." not in path or not all(path.split(".")):
        raise CheckFailed(f"client() must give an import path such as 'package.module.Class', not {path!r}")
    try:
        found = resolve_client(path, [], unsafe=True)
    except ClientUnavailable as e:
        raise CheckFailed(f"client(): {e}") from e
    if not issubclass(found, DriverClient):
        raise CheckFailed(f"client() gives {path}, which is no subclass of jumpstarter.client.DriverClient")


def _check_exports(driver: Driver) -> None:
    for interface, name, function in interface_methods(type(driver)):
        wanted, actual = declared(function), exported(getattr(driver, name))
        if actual is None:
            decorator = "@exportstream" if wanted is Kind.STREAM else "@export"
            raise CheckFailed(f"{name}, which {interface.__name__} asks for, is not exported: put {decorator} over it")
        if wanted is not None and actual is not wanted:
            raise CheckFailed(
                f"{name} is exported as {actual}, but {interface.__name__} declares it as {wanted}: clients that go by "
                "the interface cannot use it"
            )


def _check_constructor(driver: Driver) -> None:
    for parameter in inspect.signature(type(driver)).parameters.values():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            raise CheckFailed(f"the setting {parameter} is not keyword-only: use @dataclass(kw_only=True)")
        if parameter.annotation is inspect.Parameter.empty:
            raise CheckFailed(f"the setting {parameter.name} has no annotation, so a wrong value cannot be refused")


def _check_life_cycle(driver: Driver) -> None:
    for name in ("reset", "close"):
        method = getattr(driver, name)
        if inspect.iscoroutinefunction(method) or inspect.isgeneratorfunction(method):
            raise CheckFailed(f"{name}() must be a plain method; it is called in a worker thread and may block")


def _check_report(driver: Driver) -> None:
    try:
        report = driver.report()
        report.SerializeToString()
        UUID(report.uuid)
    except Exception as e:
        raise CheckFailed(f"report() is not well-formed: {type(e).__name__}: {e}") from e
    if report.uuid != str(driver.uuid):
        raise CheckFailed(f"report() names the uuid {report.uuid}, the driver has {driver.uuid}")
    if report.labels.get(CLIENT_LABEL) != driver.client():
        raise CheckFailed(
            f"report() must carry client() as label {CLIENT_LABEL}, not {report.labels.get(CLIENT_LABEL)!r}"
        )


def _check_descriptions(driver: Driver, client: DriverClient) -> None:
    unknown = set(driver.methods_description) - exported_names(driver)
    unknown -= {name for name in unknown if callable(getattr(client, name, None))}
    if unknown and hasattr(client, "cli"):
        unknown -= set(getattr(client.cli(), "commands", {}))
    if unknown:
        names = ", ".join(sorted(unknown))
        raise CheckFailed(f"methods_description speaks of {names}, which neither the driver nor its client has")


def _check_tree(driver: Driver, client: Any) -> None:
    if client.uuid != driver.uuid:
        raise CheckFailed(f"the served client has the uuid {client.uuid}, its driver {driver.uuid}")
    names = (sorted(driver.children), sorted(client.children))
    if names[0] != names[1]:
        raise CheckFailed(f"the driver has the children {names[0]}, its served client {names[1]}")


def _find(client: DriverClient, uuid: UUID) -> DriverClient:
    waiting = [client]
    while waiting:
        candidate = waiting.pop()
        if candidate.uuid == uuid:
            return candidate
        waiting.extend(candidate.children.values())
    raise CheckFailed(f"no client was served for the driver {uuid}")
