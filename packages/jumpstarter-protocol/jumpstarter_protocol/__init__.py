"""Messages and services of the Jumpstarter protocol.

Everything below `jumpstarter_protocol.jumpstarter` is generated from the .proto files by `make protocol`; the modules
beside it are the short names that published packages import.
"""
