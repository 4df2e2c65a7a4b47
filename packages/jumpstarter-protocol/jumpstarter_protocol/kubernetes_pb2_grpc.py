"""Short name of `jumpstarter_protocol.jumpstarter.v1.kubernetes_pb2_grpc`."""

from jumpstarter_protocol.jumpstarter.v1.kubernetes_pb2_grpc import *  # noqa: F403
