"""The protocol stays the one that 0.9.0 peers speak: names, numbers, types and labels, field by field."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor, ServiceDescriptor

FIRST_EXTENSION = 1000
# error_pb2 is an extension as a whole.
MODULES = ["v1.common_pb2", "v1.kubernetes_pb2", "v1.jumpstarter_pb2", "v1.router_pb2", "client.v1.client_pb2"]
SCALARS = {
    value: name.removeprefix("TYPE_").lower()
    for name, value in vars(FieldDescriptor).items()
    if name.startswith("TYPE_") and name != "TYPE_GROUP"
}


def contract() -> dict[str, list[str]]:
    """wire.txt: what 0.9.0 and the releases after it put on the wire, by heading."""
    tables: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in (Path(__file__).parent / "wire.txt").read_text().splitlines():
        if line.startswith(" "):
            lines.append(line.strip())
        else:
            lines = tables[line] = []
    return tables


def generated() -> dict[str, list[str]]:
    """The same of our generated code; extensions are left out."""
    tables: dict[str, list[str]] = {}
    for name in MODULES:
        file: FileDescriptor = importlib.import_module(f"jumpstarter_protocol.jumpstarter.{name}").DESCRIPTOR
        for enum in file.enum_types_by_name.values():
            tables[f"enum {enum.full_name}"] = values_of(enum)
        for message in file.message_types_by_name.values():
            tables[f"message {message.full_name}"] = fields_of(message)
        for service in file.services_by_name.values():
            tables[f"service {service.full_name}"] = methods_of(service)
    return tables


def values_of(enum: EnumDescriptor) -> list[str]:
    return [f"{value.name} = {value.number}" for value in enum.values]


def fields_of(message: Descriptor) -> list[str]:
    fields = sorted(message.fields, key=lambda field: field.number)
    return [line_of(field) for field in fields if field.number < FIRST_EXTENSION]


def line_of(field: FieldDescriptor) -> str:
    kind = kind_of(field)
    if field.message_type and field.message_type.GetOptions().map_entry:
        key, value = field.message_type.fields
        kind = f"map<{kind_of(key)}, {kind_of(value)}>"
    elif field.is_repeated:
        kind = f"repeated {kind}"
    optional = " [optional]" if field.containing_oneof else ""
    return f"{field.number} {kind} {field.name}{optional}"


def kind_of(field: FieldDescriptor) -> str:
    if field.message_type:
        return str(field.message_type.full_name)
    return f"enum {field.enum_type.full_name}" if field.enum_type else SCALARS[field.type]


def methods_of(service: ServiceDescriptor) -> list[str]:
    return [
        f"{method.name}({'stream ' * method.client_streaming}{method.input_type.full_name})"
        f" -> {'stream ' * method.server_streaming}{method.output_type.full_name}"
        for method in service.methods
    ]


def test_everything_of_the_contract_is_generated() -> None:
    assert generated().keys() == contract().keys()


@pytest.mark.parametrize("heading", contract())
def test_generated_as_the_contract_has_it(heading: str) -> None:
    assert generated()[heading] == contract()[heading]


@pytest.mark.parametrize(
    ("short", "path"),
    [
        ("client_pb2", "client.v1.client_pb2"),
        ("jumpstarter_pb2", "v1.jumpstarter_pb2"),
        ("kubernetes_pb2", "v1.kubernetes_pb2"),
        ("router_pb2", "v1.router_pb2"),
    ],
)
@pytest.mark.parametrize("suffix", ["", "_grpc"])
def test_published_import_names(short: str, path: str, suffix: str) -> None:
    published = importlib.import_module(f"jumpstarter_protocol.{short}{suffix}")
    full = importlib.import_module(f"jumpstarter_protocol.jumpstarter.{path}{suffix}")
    public = {name for name in vars(full) if not name.startswith("_")}
    assert {name: getattr(published, name) for name in public} == {name: getattr(full, name) for name in public}


def test_a_peer_without_our_extensions_ignores_them() -> None:
    from jumpstarter_protocol.jumpstarter_pb2 import DriverCallRequest, ResetRequest

    ours = DriverCallRequest(uuid="u", method="on", encoded_args=b"\x90")
    theirs = ResetRequest.FromString(ours.SerializeToString())  # a message that knows none of the fields
    assert theirs.ListFields() == []
    assert DriverCallRequest.FromString(theirs.SerializeToString()) == ours
