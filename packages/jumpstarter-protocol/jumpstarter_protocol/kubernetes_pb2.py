"""Short name of `jumpstarter_protocol.jumpstarter.v1.kubernetes_pb2`."""

from jumpstarter_protocol.jumpstarter.v1.kubernetes_pb2 import *  # noqa: F403
