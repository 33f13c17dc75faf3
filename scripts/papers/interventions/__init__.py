"""Experiments that decide between the papers' explanations: what their figures have in common here."""

from __future__ import annotations

from sgdscope.figure import Paper

PAPER = Paper(
    about="experiments that decide between the papers' explanations",
    sources=(
        "Avrajit Ghosh, He Lyu, Xitong Zhang, Rongrong Wang. Implicit Regularization in Heavy-Ball Momentum "
        "Accelerated Stochastic Gradient Descent. ICLR, 2023; arXiv:2302.00849.",
        "Matias D. Cattaneo, Jason M. Klusowski, Boris Shigida. On the Implicit Bias of Adam. ICML, 2024; "
        "arXiv:2309.00079.",
        "Matias D. Cattaneo, Boris Shigida. How Memory in Optimization Algorithms Implicitly Modifies the Loss. "
        "arXiv:2502.02132, 2025.",
        "Shengchao Liu, Dimitris Papailiopoulos, Dimitris Achlioptas. Bad Global Minima Exist and SGD Can Reach Them. "
        "NeurIPS, 2020; arXiv:1906.02613.",
    ),
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
