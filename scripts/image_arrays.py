#!/usr/bin/env python3
"""Makes arrays for the data set `arrays` of images that lie in folders, one folder a class.

    scripts/image_arrays.py photos data/photos --size 32                # photos/cat/1.jpg, photos/dog/2.png, ...
    scripts/image_arrays.py photos data/photos --size 32 --grey         # photos/train/cat/1.jpg, photos/test/cat/2.jpg, ...

Where FROM has the folders `train` and `test`, these are the training and the test set, and a config then says
"data": {"name": "arrays", "path": "DIR"}. Else all are training files, of which a config takes a test set:
"data": {"name": "arrays", "path": "DIR", "split": {"share": 0.2}}.

Into DIR come train_inputs.npy [N, channels, height, width] of bytes, train_labels.npy, the same for test, and classes.txt, the
class of each label. A test set that an earlier call wrote there, and this one does not, is removed. Images of integers of more than
8 bits, of floating-point numbers, or with transparent pixels are refused: bytes of red, green and blue, or of grey, do not say the
same. Needs Pillow. Exit status: 0 written, 2 wrong usage, 3 unusable data, 5 no library or no place to write.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sgdscope.libraries import numpy  # noqa: F401

# isort: split
import numpy as np

from sgdscope.errors import DATA, Error, exit_status_of
from sgdscope.files import replacing
from sgdscope.optional import need

SPLITS = ("train", "test")
READING = "the reading of images"  # needs Pillow


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="image_arrays.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("source", type=Path, metavar="FROM", help="the folder of the images")
    parser.add_argument("out", type=Path, metavar="DIR", help="the folder to write to")
    parser.add_argument("--size", type=int, metavar="N", help="make all images N x N: the middle square, shrunk or "
                        "enlarged (default: as they are, if all have one size)")  # fmt: skip
    parser.add_argument("--grey", action="store_true", help="one channel in place of red, green and blue")
    options = parser.parse_args(arguments)
    if options.size is not None and options.size < 1:
        raise Error("--size", f"found {options.size}, expected 1 pixel or more", "leave it out to keep the size")
    return options


def folders_in(folder: Path) -> list[Path]:
    """The visible folders in a folder, by name."""
    if not folder.is_dir():
        raise Error(str(folder), "there is no such folder", "give the folder of the images")
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def images_in(folder: Path, endings: Sequence[str]) -> list[Path]:
    """The images of a class, by name, also in folders within its folder; hidden files and folders are passed over."""
    found = [path for path in folder.rglob("*") if path.suffix.lower() in endings and path.is_file()]
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def refuse_loss(path: Path, image: Any) -> None:
    """Refuses an image of which bytes of red, green and blue, or grey, would lose something."""
    if image.mode[0] in "IF":
        what = f"has pixels of mode {image.mode}, more than 8 bits a channel, expected bytes"
        hint = (
            "scale its values to 0 ... 255 and save it as 8 bits; or keep them: save arrays of float32 with numpy.save, "
            "which the data set `arrays` reads"
        )
        raise Error(str(path), what, hint, DATA)
    if ("A" in image.getbands() or "transparency" in image.info) and image.convert("RGBA").getchannel("A").getextrema()[
        0
    ] < 255:
        what = f"has transparent pixels (mode {image.mode}), expected opaque ones"
        raise Error(str(path), what, "lay it on a background of one colour and save it without its alpha channel", DATA)


def pixels_of(path: Path, image_module: Any, options: argparse.Namespace) -> np.ndarray:
    """An image as [channels, height, width] of bytes."""
    try:
        with image_module.open(path) as file:
            turned = need("PIL.ImageOps", READING, "pillow").exif_transpose(file)  # as the camera was held
            refuse_loss(path, turned)
            image = turned.convert("L" if options.grey else "RGB")
    except (OSError, ValueError, SyntaxError, image_module.DecompressionBombError) as error:
        raise Error(str(path), f"cannot be read: {error}", "mend it or take it away", DATA) from None
    if options.size is not None:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        box = (left, top, left + side, top + side)
        image = image.resize((options.size, options.size), image_module.Resampling.BILINEAR, box)
    pixels = np.asarray(image)
    return pixels[None] if options.grey else np.moveaxis(pixels, -1, 0)


def write_split(
    split: str, images: Sequence[tuple[Path, int]], image_module: Any, options: argparse.Namespace, files: ExitStack
) -> Path:
    """Writes inputs and labels of a split, one image after the other, which get their names when `files` ends."""
    first_path, _ = images[0]
    first = pixels_of(first_path, image_module, options)
    inputs = options.out / f"{split}_inputs.npy"
    with files.enter_context(replacing(inputs)).open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(images), *first.shape)}
        np.lib.format.write_array_header_1_0(file, header)
        for path, _ in images:
            pixels = pixels_of(path, image_module, options)
            if pixels.shape != first.shape:
                what = f"has {pixels.shape[2]} x {pixels.shape[1]} pixels, but {first_path} {first.shape[2]} x {first.shape[1]}"
                raise Error(str(path), what, "give all of them one size by --size N", DATA)
            file.write(np.ascontiguousarray(pixels).tobytes())
    with files.enter_context(replacing(options.out / f"{split}_labels.npy")).open("wb") as file:
        np.save(file, np.array([label for _, label in images], np.int64))
    return inputs


def images_of_classes(source: Path, classes: Sequence[str], endings: Sequence[str]) -> list[tuple[Path, int]]:
    """The images of a split with their labels; each folder of a class must have some."""
    found: list[tuple[Path, int]] = []
    folders = folders_in(source)
    if not folders:
        raise Error(str(source), "found no folder", "put the images of each class in a folder of its own", DATA)
    for folder in folders:
        if folder.name not in classes:
            hint = "a class needs a folder of the same name in train"
            raise Error(str(folder), "is of a class that train has not", hint, DATA)
        images = images_in(folder, endings)
        if not images:
            hint = (
                f"put images of the class there, or move the folder elsewhere; known are {', '.join(sorted(endings))}"
            )
            raise Error(str(folder), "found no image", hint, DATA)
        found += [(path, classes.index(folder.name)) for path in images]
    return found


def convert(options: argparse.Namespace) -> list[Path]:
    """Writes the arrays of all splits, and removes those of others that an earlier call left; the files of inputs."""
    image_module = need("PIL.Image", READING, "pillow")
    endings = [ending.lower() for ending in image_module.registered_extensions()]
    parted = (options.source / "train").is_dir() and (options.source / "test").is_dir()
    sources = {split: options.source / split for split in SPLITS} if parted else {"train": options.source}
    classes = [folder.name for folder in folders_in(sources["train"])]
    if len(classes) < 2:
        raise Error(
            str(sources["train"]),
            f"found {len(classes)} folders",
            "put the images of each class in a folder of its own",
            DATA,
        )
    images = {split: images_of_classes(source, classes, endings) for split, source in sources.items()}
    with ExitStack() as files:  # all of them are put in place together, or none
        written = [write_split(split, found, image_module, options, files) for split, found in images.items()]
        names = "".join(f"{name}\n" for name in classes)
        files.enter_context(replacing(options.out / "classes.txt")).write_text(names, encoding="utf-8")
        for split in SPLITS:
            for kind in ("inputs", "labels") if split not in sources else ():
                (options.out / f"{split}_{kind}.npy").unlink(missing_ok=True)
    return written


def main(arguments: Sequence[str] | None = None) -> int:
    """Converts and prints the files written; the exit status."""
    return exit_status_of(
        lambda: print(*convert(parse_arguments(sys.argv[1:] if arguments is None else arguments)), sep="\n")
    )


if __name__ == "__main__":
    sys.exit(main())
