"""`sgdscope` as pip installs it: becomes the program that lies in bin/ beside this file, with its exit status and its signals.

The program is linked to the libraries of the installed torch, and those of another version don't fit: the dynamic linker would
end it before its first line, with words about a symbol. So this looks first, without loading them.
"""

from __future__ import annotations

import importlib.util
import json
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

from sgdscope.errors import RESOURCE, Error, exit_status_of

PACKAGE = Path(__file__).resolve().parent


def torch_folder() -> Path:
    """The package torch that the program will be linked to: the one beside this package, or else the one that is imported."""
    beside = PACKAGE.parent / "torch"
    if beside.is_dir():
        return beside
    found = importlib.util.find_spec("torch")
    if found is None or not found.submodule_search_locations:
        raise Error("torch", "this Python has none", f"call {install_torch()}", RESOURCE)
    return Path(found.submodule_search_locations[0])


def built_with() -> dict[str, str]:
    """Version of the torch that the program was built against, and the CUDA that it then needs; "" for none."""
    try:
        return json.loads((PACKAGE / "lib" / "libtorch.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        hint = "call pip install . in the repository, or scripts/quickstart.sh, which builds build/release/sgdscope"
        raise Error(str(PACKAGE), "holds the Python package, but no program", hint, RESOURCE) from None


def install_torch() -> str:
    """The command that installs the torch that is needed."""
    return f"{sys.executable} -m pip install torch=={built_with()['version']}"


def check(folder: Path) -> None:
    """Refuses a torch that the program cannot run with."""
    needed = built_with()
    found = runpy.run_path(str(folder / "version.py"))  # a few lines, which import nothing of torch
    version, cuda = found["__version__"], found["cuda"] or ""
    if version.partition("+")[0] != needed["version"]:
        what = f"found version {version}, but sgdscope is linked to the libraries of {needed['version']}"
        raise Error(str(folder), what, f"call {install_torch()}; or build sgdscope anew: CONTRIBUTING.md", RESOURCE)
    if needed["cuda"] and cuda.partition(".")[0] != needed["cuda"]:
        what = f"found a build for {'CUDA ' + cuda if cuda else 'the CPU alone'}, but sgdscope was built for CUDA {needed['cuda']}"
        raise Error(str(folder), what, f"install torch {needed['version']} for CUDA {needed['cuda']}", RESOURCE)


def environment() -> dict[str, str]:
    """What the installed program is to be started with; an error if there is none, or a torch that does not fit."""
    folder = torch_folder()
    check(folder)
    if folder.parent == PACKAGE.parent:  # the program finds it by itself
        return dict(os.environ)
    libraries = [str(folder / "lib"), os.environ.get("LD_LIBRARY_PATH", "")]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(filter(None, libraries))}


def call(*arguments: str, output: int) -> bool:
    """Whether the program was found and did this, its standard output going to a descriptor.

    It is the one that SGDSCOPE names, the installed one, or the one that was built in this repository.
    """
    built = PACKAGE.parents[1] / "build" / "release" / "sgdscope"
    try:
        if named := os.environ.get("SGDSCOPE"):
            program, variables = named, dict(os.environ)
        elif (PACKAGE / "bin" / "sgdscope").is_file():
            program, variables = str(PACKAGE / "bin" / "sgdscope"), environment()
        else:
            program, variables = str(built), dict(os.environ)
        command = [program, *arguments]
        return not subprocess.run(
            command, stdout=output, stderr=subprocess.DEVNULL, env=variables, check=False
        ).returncode
    except (Error, OSError):
        return False


def start() -> None:
    """Becomes the program."""
    variables = environment()
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # by Python, and by what it starts
        signal.signal(ignored, signal.SIG_DFL)
    os.execve(PACKAGE / "bin" / "sgdscope", ["sgdscope", *sys.argv[1:]], variables)


def main() -> None:
    """What pip makes the command `sgdscope` of."""
    sys.exit(exit_status_of(start))
