"""Short name of `jumpstarter_protocol.jumpstarter.v1.router_pb2_grpc`."""

from jumpstarter_protocol.jumpstarter.v1.router_pb2_grpc import *  # noqa: F403
