"""Settings of the documentation; `make docs` builds it, and every warning is an error."""

from __future__ import annotations

import sys
from pathlib import Path

import pixnet

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "PixNet"
author = "the authors of PixNet"
copyright = author
version = release = pixnet.__version__

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "pixnet_docs",
]
exclude_patterns = ["_build", "_ext", "_static"]
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 4

# The tutorials run at every build, from nothing, and stop it where a cell fails.
nb_execution_mode = "force"
nb_execution_timeout = 1200
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_execution_show_tb = True
nb_output_stderr = "remove"  # what libraries have to say to programmers

autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
autodoc_type_aliases = {name: name for name in ("ArrayLike", "GivenTransform", "Progress")}
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
numpydoc_xref_param_type = False

default_role = "code"  # of docstrings: `name` is code

# A reference that leads nowhere is a warning, and so an error.
nitpicky = True

html_theme = "sphinx_book_theme"
html_title = "PixNet"
html_math_renderer = "mathml"  # needs no script and no network
html_static_path = ["_static"]
html_css_files = ["pixnet.css"]
html_theme_options = {
    "home_page_in_toc": False,
    "navbar_persistent": [],  # the sidebar has a search field
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "use_download_button": False,
}
