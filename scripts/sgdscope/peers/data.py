"""The training set on the device, and batches drawn from it."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sgdscope.errors import DATA, Error

INPUTS, CLASSES = 784, 10
BATCH_SIZE = 100


@dataclass
class Dataset:
    """Images [n, 784] as bytes, or as floats in 0..1, and labels [n], on the device."""

    images: Tensor
    labels: Tensor
    name: str

    def as_float(self) -> Dataset:
        return Dataset(self.images.float().div_(255), self.labels, self.name)


def read_idx(folder: Path, name: str, magic: int, dimensions: int) -> np.ndarray:
    """An IDX file of bytes, plain or .gz."""
    file = next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)
    if file is None:
        hint = "give the folder with MNIST's or Fashion-MNIST's four files, or leave out --data"
        raise Error(str(folder), f"has no {name} and no {name}.gz", hint)
    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (OSError, EOFError, ValueError) as error:
        raise Error(str(file), f"cannot be read: {error}", "fetch it again: scripts/download_data.sh", DATA) from None
    offset = 4 * (dimensions + 1)
    header = np.frombuffer(content[:offset].ljust(offset, b"\0"), dtype=">u4").astype(np.int64)
    if header[0] != magic or len(content) != offset + np.prod(header[1:]):
        what = f"is no whole IDX file of {dimensions} dimensions (magic number {magic:#010x})"
        raise Error(str(file), what, "fetch it again: scripts/download_data.sh", DATA)
    return np.frombuffer(content, dtype=np.uint8, offset=offset).reshape(header[1:])


def load_data(folder: str | None, device: torch.device) -> Dataset:
    """The training set in `folder`; without one, seeded random images with MNIST's share of zeros."""
    if folder is None:
        random = np.random.default_rng(1)
        images = random.integers(1, 256, (60000, INPUTS), dtype=np.uint8)
        images *= random.random(images.shape, dtype=np.float32) >= 0.8
        labels, name = random.integers(0, CLASSES, 60000, dtype=np.uint8), "synthetic"
    else:
        images = read_idx(Path(folder), "train-images-idx3-ubyte", 0x803, 3)
        labels = read_idx(Path(folder), "train-labels-idx1-ubyte", 0x801, 1)
        images, name = images.reshape(len(images), -1), Path(folder).resolve().name
        if (
            images.shape[1] != INPUTS
            or len(labels) != len(images)
            or labels.max() >= CLASSES
            or len(images) < BATCH_SIZE
        ):
            what = f"{len(images)} images of {images.shape[1]} pixels, {len(labels)} labels up to {labels.max()}"
            hint = f"expected {BATCH_SIZE} or more images of {INPUTS} pixels, with as many labels below {CLASSES}"
            raise Error(folder, what, hint, DATA)
    return Dataset(torch.tensor(images, device=device), torch.tensor(labels, dtype=torch.int64, device=device), name)


class Shuffle:
    """The indices of one batch after another; a new permutation for each epoch, an incomplete batch dropped."""

    def __init__(self, examples: int, device: torch.device, batch_size: int = BATCH_SIZE) -> None:
        self.examples, self.device, self.batch_size = examples, device, batch_size
        self.position = examples

    def next(self) -> Tensor:
        if self.position + self.batch_size > self.examples:
            self.permutation = torch.randperm(self.examples, device=self.device)
            self.position = 0
        self.position += self.batch_size
        return self.permutation[self.position - self.batch_size : self.position]
