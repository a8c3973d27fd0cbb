"""A contributor's own files as the payload that a manifest asks for: tables, arrays, folders of pictures, text.

This runs on the contributor's machine. Records that do not fit are left out and told; whatever comes out has been
parsed as validators will parse it.
"""

from __future__ import annotations

from validator.actions.convert.payload import Converted, convert
from validator.actions.convert.sample import ConvertError, Options, class_names

__all__ = ["ConvertError", "Converted", "Options", "class_names", "convert"]
