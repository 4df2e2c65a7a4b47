"""Handles of client-side resources, as they travel."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest
from jumpstarter.common.resources import ClientStreamResource, PresignedRequestResource, ResourceMetadata
from pydantic import ValidationError


def test_the_answer_to_a_resource_stream() -> None:
    uuid = uuid4()
    text = json.dumps({"kind": "client_stream", "uuid": str(uuid), "x_jmp_content_encoding": "gzip"})
    answer = ResourceMetadata.model_validate({"resource": text, "x_jmp_accept_encoding": ""})
    assert answer.resource == ClientStreamResource(uuid=uuid, x_jmp_content_encoding="gzip")
    assert answer.x_jmp_accept_encoding == ""


def test_the_kind_decides() -> None:
    text = json.dumps({"kind": "presigned_request", "headers": {"a": "b"}, "url": "https://x/y", "method": "PUT"})
    answer = ResourceMetadata.model_validate({"resource": text})
    assert answer.resource == PresignedRequestResource(headers={"a": "b"}, url="https://x/y", method="PUT")


@pytest.mark.parametrize(
    "text", ['{"kind": "file"}', "{}", "no json", '{"kind": "presigned_request", "method": "GET"}']
)
def test_others_are_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        ResourceMetadata.model_validate({"resource": text})
