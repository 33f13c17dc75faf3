"""Libraries that only some of what is here needs, imported when it does."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from sgdscope.errors import RESOURCE, Error


def need(module: str, what: str, package: str = "") -> Any:
    """The module; where this Python has none an error that says what needs it and which package to install."""
    try:
        return importlib.import_module(module)
    except ImportError:
        package = package or module.split(".")[0]
        install = f"to have it: {sys.executable or 'python3'} -m pip install {package}"
        raise Error(package, f"this Python has none, and {what} needs it", install, RESOURCE) from None
