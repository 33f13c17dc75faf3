"""Files that no reader ever sees half written."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from sgdscope.errors import RESOURCE, Error

IN_CONFIGS = "make room, or have it where you may write: results are kept beside the configs"  # there is no --out


@contextlib.contextmanager
def replacing(path: Path, remedy: str = "choose another place with --out") -> Iterator[Path]:
    """Gives a temporary name to write to, which becomes `path` in the end; makes the folder where there is none."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise Error(str(path), f"cannot be written: {error.strerror}", remedy, RESOURCE) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
