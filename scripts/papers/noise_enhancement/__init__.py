"""The paper `noise_enhancement`: what its figures have in common here."""

from __future__ import annotations

from sgdscope.figure import Paper

PAPER = Paper(
    about="a second minibatch enhances SGD's noise at a fixed batch size, and networks generalize better",
    sources=("Takashi Mori and Masahito Ueda. Improved Generalization by Noise Enhancement. arXiv:2009.13094, 2020.",),
    departures=(
        "The paper does not say how the training loss that reaches L* and L** is measured. Here: the mean of the batches' "
        "losses over each epoch, at its end. So convergence times are whole epochs.",
        "It does not say which of Glorot's initializations it takes, nor how pixels are scaled. Here: the uniform one, "
        "biases 0; to 0 … 1 (F1) or by the mean and deviation of each channel (C1, C2).",
        "An epoch leaves out the examples that don't fill its last batch, others in every epoch.",
        "C2's output layer has 100 neurons. The paper says 10, which can't be for CIFAR-100.",
        "The paper waits for every run to reach L**. Here a run ends after 300,000 (F1) or 200,000 steps (C1, C2) at the "
        "latest; a setting of which a run does not get there is left out, and the report says which.",
        "The best batch size is that of the highest mean test accuracy, which is taken of the same runs, as in the paper's "
        "tables: of several settings that are equally good the best looks better than it is, with noise enhancement and "
        "without.",
        "That noise enhancement improves generalization is said of curves over the batch size. Here: the mean over the sizes, since "
        "in batches below the best ones more noise need not be better.",
        "A claim about the best of several settings is judged by comparing each with each, seed by seed: scripts/VERDICTS.md.",
        "The claims were written down before any accuracy was looked at. The quick variant's size was chosen by the times "
        "that a few runs with α = 1 took to L**, at other batch sizes, and one with α = 2.5 that was cut off. A first "
        "version, with 3 seeds and no batches below 100, left half of the claims undecided, and test accuracy still rose "
        "at its smallest batches: seeds and smaller batches were added then. With batches of 25 to 800 the best one without noise "
        "enhancement still was the smallest: batches of 10 were added, without noise enhancement alone. No claim and no border was "
        "changed then; what was later is said below the figures' claims.",
    ),
    sizes={
        "quick": "an F1 with 7 hidden layers of 64 in place of 500, the first 4,000 training examples in place of 60,000, batches of "
        "25, 50, …, 800, and of 10 without noise enhancement, in place of 100 to 5000, α up to 1.5 (figure 1) and 3 (figure 3), 5 seeds "
        "in place of 10, and at most 100,000 steps, within which batches of 10 would not come to L** with α = 1.5. In figure 1 this network stands in for C1, so that nothing is concluded, and figures 2 and 3 have no C1 and C2, whose runs take hours on "
        "two cores",
        "desk": "the paper's F1 on the first 4,000 training examples in place of 60,000, and a C1 with 8, 16 and 32 channels in place of "
        "64, 128 and 256 on 1,600 in place of 50,000; batches of 50 (C1: 100) to 800 in place of 100 to 5000, α up to 1.5 (figures 1 "
        "and 2) and 2 (figure 3, in batches of 400), 5 seeds in place of 10, and at most 60,000 steps. There is no C2",
    },
)
