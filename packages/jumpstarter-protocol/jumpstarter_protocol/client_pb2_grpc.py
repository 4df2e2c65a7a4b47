"""Short name of `jumpstarter_protocol.jumpstarter.client.v1.client_pb2_grpc`."""

from jumpstarter_protocol.jumpstarter.client.v1.client_pb2_grpc import *  # noqa: F403
