"""Reads run folders and draws them: errors, files, runs, lines, style, panels, each of which builds on those before."""

import sys

from sgdscope.errors import HOW_TO_INSTALL, RESOURCE

try:
    import numpy  # noqa: F401
except ImportError:
    print(f"error: numpy: this Python has none\n  {HOW_TO_INSTALL}", file=sys.stderr)
    sys.exit(RESOURCE)
