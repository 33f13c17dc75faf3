"""Libraries that only some of what is here needs, imported when it does."""

from __future__ import annotations

import importlib
from typing import Any

from sgdscope.errors import RESOURCE, Error, install


def need(module: str, what: str, package: str = "") -> Any:
    """The module; where this Python has none an error that says what needs it and which package to install."""
    try:
        return importlib.import_module(module)
    except ImportError:
        package = package or module.split(".")[0]
        hint = f"to have it: {install(package)}"
        raise Error(package, f"this Python has none, and {what} needs it", hint, RESOURCE) from None
