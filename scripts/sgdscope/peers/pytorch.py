"""The plain training step in PyTorch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from sgdscope.peers.data import BATCH_SIZE, CLASSES, INPUTS, Dataset, Shuffle
from sgdscope.peers.timing import PYTORCH, Candidate, Turns, synchronize, timed

LEARNING_RATE = 0.1


def network(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers with ReLU between them; the widths are those of the input, of each hidden layer, of the output."""
    layers: list[nn.Module] = []
    for inputs, outputs in zip(widths, widths[1:]):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def name_of(hidden: Sequence[int]) -> str:
    return "-".join(map(str, (INPUTS, *hidden, CLASSES)))


class PlainStep:
    """A training step as a careful user of PyTorch writes it; the loss stays on the device."""

    def __init__(self, hidden: Sequence[int], data: Dataset, batch_size: int = BATCH_SIZE) -> None:
        device = data.images.device
        self.images, self.labels = data.images, data.labels
        self.shuffle = Shuffle(len(data.images), device, batch_size)
        self.model = network((INPUTS, *hidden, CLASSES)).to(device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=LEARNING_RATE)

    def fetch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs [n, 784] in 0..1 and labels [n] of a batch."""
        inputs = self.images.index_select(0, indices)
        if inputs.dtype == torch.uint8:
            inputs = inputs.float().div_(255)
        return inputs, self.labels.index_select(0, indices)

    def loss_of(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return functional.cross_entropy(self.model(batch[0]), batch[1])

    def __call__(self) -> None:
        batch = self.fetch(self.shuffle.next())
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss_of(batch)
        loss.backward()
        self.optimizer.step()
        self.kept = loss.detach()


def candidates_of(
    ways: Iterable[tuple[str, str, type[PlainStep]]],
    hidden: Sequence[int],
    data: Dataset,
    turns: Turns,
    *batch_size: int,
) -> list[Candidate]:
    """Each way (kind of step, ending of the variant's name, its class) with both kinds of data, from the same seed."""
    device, candidates = data.images.device, []
    for name, variant_data in (("uint8", data), ("float", data.as_float())):
        for kind, ending, make_step in ways:
            torch.manual_seed(1)
            step = make_step(hidden, variant_data, *batch_size)
            candidates.append(timed(PYTORCH, kind, name + ending, step, lambda: synchronize(device), turns))
    return candidates
