"""Configuration of Sphinx; `make docs` builds the site."""

from __future__ import annotations

import shutil
import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "Jumpstarter"
version = release = version_of("jumpstarter")
copyright = "the Jumpstarter authors, Apache-2.0"

extensions = ["myst_parser", "sphinx.ext.autodoc", "reference"]
if shutil.which("dot"):
    extensions.append("sphinx.ext.graphviz")
    graphviz_output_format = "svg"

exclude_patterns = ["_extensions"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
default_role = "code"  # docstrings have it in single backticks
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = f"Jumpstarter {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
