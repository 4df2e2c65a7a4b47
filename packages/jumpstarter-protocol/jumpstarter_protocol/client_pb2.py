"""Short name of `jumpstarter_protocol.jumpstarter.client.v1.client_pb2`."""

from jumpstarter_protocol.jumpstarter.client.v1.client_pb2 import *  # noqa: F403
