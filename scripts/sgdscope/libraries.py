"""The libraries that a script cannot do without. It imports them from here first: `from sgdscope.libraries import numpy`.

Where this Python lacks one, the script ends with the error that says how to have it.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from sgdscope.errors import Error, missing

PACKAGES = {"numpy": (), "scipy": (), "torch": ("numpy torch",)}  # what to install, where it is not `missing`'s default


def __getattr__(name: str) -> Any:
    if name not in PACKAGES:
        raise AttributeError(name)
    try:
        return importlib.import_module(name)
    except ImportError:
        error: Error = missing(name, *PACKAGES[name])
    print(f"error: {error}", file=sys.stderr)
    sys.exit(error.status)
