"""Experiments that decide between the papers' explanations: what their figures have in common here."""

from __future__ import annotations

from sgdscope.figure import Paper

PAPER = Paper(
    about="experiments that decide between the papers' explanations",
    departures=("All of it is ours: no paper shows these figures.",),
    sizes={
        "quick": "`penalty`: 5,000 images of MNIST, smaller networks and 400 steps in place of 50,000 and 6,000; `finite_steps`: "
        "1,024 images of Fashion-MNIST, 64 units a layer and 25 epochs in place of 60,000, 4,096 and 400; `noise_shape`: 1,500 images of "
        "Fashion-MNIST, 64 units a layer and batches of 25 and 100 in place of 60,000, 500, 900 and 5,000; `outliers`: 1,000 images "
        "of MNIST, 64 units a layer and 1,500 steps in place of 60,000, 256 and 60,000; `delta`: 2,500 images of MNIST, 64 units and "
        "750 steps in place of 60,000, 500 and 6,000; `adversarial_initialization`: 1,000 images of MNIST, 64 units a layer and 4,000 and "
        "1,500 steps in place of 60,000, 256, 200,000 and 60,000"
    },
)
