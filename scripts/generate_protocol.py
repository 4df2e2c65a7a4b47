"""Generate the Python code of `jumpstarter-protocol` from the .proto files.

Usage: python scripts/generate_protocol.py [OUTPUT_DIRECTORY]

protoc writes absolute imports after the proto packages (`from jumpstarter.v1 import ...`), which in Python would name
the core package; they are rewritten to live below `jumpstarter_protocol`.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import grpc_tools  # type: ignore[import-untyped]
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protocol"
PACKAGE = ROOT / "packages" / "jumpstarter-protocol" / "jumpstarter_protocol"
WELL_KNOWN = Path(grpc_tools.__file__).parent / "_proto"


def googleapis() -> Path:
    """The directory that holds google/api/*.proto, from googleapis-common-protos."""
    from google.api import annotations_pb2  # type: ignore[import-untyped]

    return Path(annotations_pb2.__file__).parent.parent.parent


def generate(output: Path) -> None:
    """Write the generated package below `output` (its `jumpstarter/` directory)."""
    output.mkdir(parents=True, exist_ok=True)
    files = sorted(str(p.relative_to(PROTOS)) for p in PROTOS.rglob("*.proto"))
    arguments = [
        "protoc",
        f"-I{PROTOS}",
        f"-I{WELL_KNOWN}",
        f"-I{googleapis()}",
        f"--python_out={output}",
        f"--grpc_python_out={output}",
        f"--mypy_out=quiet:{output}",
        f"--mypy_grpc_out=quiet:{output}",
        *files,
    ]
    # protoc looks for its mypy plugins on PATH; they are installed beside this interpreter.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    if protoc.main(arguments) != 0:
        sys.exit("protoc failed: see its message above")
    for path in output.rglob("*_pb2*.py*"):
        path.write_text(rehome(path.read_text()))
    for directory in [output / "jumpstarter", *(p for p in (output / "jumpstarter").rglob("*") if p.is_dir())]:
        (directory / "__init__.py").touch()


def rehome(source: str) -> str:
    """Move the names of our own modules, in imports and annotations, below jumpstarter_protocol."""
    ours = r"(?<![\w./'\"])jumpstarter(?=(\.client)?\.v1(\.\w+_pb2\b| import\b))"
    return re.sub(ours, "jumpstarter_protocol.jumpstarter", source)


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else PACKAGE)
