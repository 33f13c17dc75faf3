"""What the scripts say when something is wrong, and the exit status that goes with it."""

from __future__ import annotations

import codecs
import difflib
import io
import os
import sys
import sysconfig
from collections.abc import Callable, Collection
from pathlib import Path

USAGE, DATA, RESOURCE = 2, 3, 5  # exit statuses, as the executable's
BROKEN_PIPE = 128 + 13  # as of a program that SIGPIPE ends

ENVIRONMENT = Path(__file__).resolve().parents[2] / ".venv"  # of scripts/setup.sh, where that makes one


class Error(Exception):
    """Where, what was wrong and what is allowed, what to do next, and the exit status for it."""

    def __init__(self, where: str, what: str, hint: str, status: int = USAGE) -> None:
        super().__init__(f"{where}: {what}\n  {hint}")
        self.status = status


def install(packages: str) -> str:
    """The command that installs packages for this Python; where its system forbids pip, for one that may have them, and its name."""
    here = Path(sys.executable or "python3")
    managed = sys.prefix == sys.base_prefix and Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED").exists()
    if not managed:
        return f"{here} -m pip install {packages}"
    made = (ENVIRONMENT / "bin" / "python").exists()
    python = ENVIRONMENT / "bin" / "python" if made else Path("ENV/bin/python")
    first = "" if made else f"{here} -m venv --system-site-packages ENV && "
    return f"{first}{python} -m pip install {packages}, and call this with {python}"


class MissingPeer(Exception):
    """A program to compare with that is not here, which is no error: why, and how to have it."""

    def __init__(self, peer: str, why: str, package: str) -> None:
        super().__init__(f"{peer}: {why}; to have it measured: {install(package)}")


def note(text: str) -> None:
    """Tells the reader something about the picture that is no error."""
    print(f"note: {text}", file=sys.stderr)


def suggestion(name: str, known: Collection[str]) -> str:
    """The names nearest to `name`, or all of them where none is near."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    near += [other for other in known if name in other and other not in near][: 6 - len(near)]
    return f"did you mean {' or '.join(near)}?" if near else f"known names: {', '.join(known)}"


def missing(library: str, packages: str = "numpy scipy matplotlib") -> Error:
    """The error for a library that this Python lacks. The remedy is the Python of scripts/setup.sh, where that has it."""
    here, own = Path(sys.executable or "python3"), ENVIRONMENT / "bin" / "python"
    if here.parent != own.parent and any(ENVIRONMENT.glob(f"lib/python*/site-packages/{library}")):
        hint = f"call this with {own}, which has it"
    else:
        hint = f"run scripts/setup.sh, which installs it and says for which Python, or: {install(packages)}"
    return Error(library, f"this Python, {here}, has none", hint, RESOURCE)


def need_matplotlib() -> None:
    """Refuses to go on without matplotlib; it is imported late, because that takes long."""
    os.environ["MPLBACKEND"] = "agg"  # files are all that is drawn; a notebook's backend, say, may not be here
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise missing("matplotlib") from None


def exit_status_of(work: Callable[[], None]) -> int:
    """Does the work; says what was wrong, if anything was, and returns the exit status."""
    _take_any_text(sys.stdout)
    try:
        try:
            work()
        except SystemExit:  # of argparse, which may have printed its help
            _flush()
            raise
        _flush()
    except Error as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    except BrokenPipeError:  # whoever reads has enough, as `head` does
        _drop_the_rest()
        return BROKEN_PIPE
    except OSError as error:
        if error.filename is None:  # no file that was opened by its name
            _drop_the_rest()
            what = f"cannot be written: {error.strerror}"
            print(f"error: standard output: {what}\n  make room where it goes, or send it elsewhere", file=sys.stderr)
            return RESOURCE
        print(f"error: {error.filename}: {error.strerror}\n  make the file readable", file=sys.stderr)
        return DATA
    return 0


def _take_any_text(stream: object) -> None:
    """Has a stream refuse no text: a file's name that is not UTF-8 keeps its bytes, a letter that another encoding lacks becomes '?'."""
    if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
        utf8 = codecs.lookup(stream.encoding).name == "utf-8"
        stream.reconfigure(errors="surrogateescape" if utf8 else "replace")


def _flush() -> None:
    if sys.stdout is not None:  # as it is where the caller has closed it
        sys.stdout.flush()


def _drop_the_rest() -> None:
    """Has what was not written yet go nowhere: else Python would tell of it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
