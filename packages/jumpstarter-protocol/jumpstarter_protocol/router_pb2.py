"""Short name of `jumpstarter_protocol.jumpstarter.v1.router_pb2`."""

from jumpstarter_protocol.jumpstarter.v1.router_pb2 import *  # noqa: F403
