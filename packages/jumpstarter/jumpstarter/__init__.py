"""Drive embedded boards from anywhere: drivers, exporters and clients over gRPC."""

import os

# gRPC's core logs to stderr by itself; what matters of it reaches the user as an exception.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
os.environ.setdefault("GLOG_minloglevel", "2")
