"""The paper `implicit_regularization`: what its figures have in common here."""

from __future__ import annotations

from sgdscope.claims import Late
from sgdscope.figure import Paper

TRAIN = "eval.train_accuracy"
TEST = "eval.test_accuracy"
CHANCE = 0.1  # the accuracy of guessing one of ten classes
PEAK = 0.005  # of accuracy: less is nothing to speak of
FITTED = 0.02  # of training accuracy: what falls short by less has fitted the training set as well

BORDER = Late("the border 0 in place of 0.5 % of accuracy, by which chance was to be kept out")

# With which results known what is said here of figures 6 and 7 was decided.
LAST = {"quick": range(1, 16)}

OPTIMA = Late(
    "that the optimum of the means over all seeds counts, and how well the seeds tell it from the other settings",
    {"quick": range(1, 11)},
)

# Why quick runs of figures 1 to 5 decide nothing.
UNJUDGED = {"quick": "an MLP stands in for the paper's Wide-ResNet, with two seeds; the runs only try the machinery"}

PAPER = Paper(
    about="SGD with a finite learning rate follows the gradient flow of a loss with a penalty on the batch gradients' norms",
    sources=(
        "Samuel L. Smith, Benoit Dherin, David G. T. Barrett and Soham De. On the Origin of Implicit Regularization "
        "in Stochastic Gradient Descent. ICLR, 2021; arXiv:2101.12176.",
    ),
    departures=(
        "The paper's text names the optimal learning rates and regularizers, not which others it took. Here: powers of 2 "
        "around those optima.",
        "It does not say how weights start. Here: He's normal form, biases 0.",
        "The best runs of a setting are those with the highest test accuracy of their whole training, as evaluated; all "
        "numbers of the setting in pictures and tables are means over them. A run that diverged is worse than any that did not, and counts with "
        "the accuracy of guessing, 10 %, where too few others are left; pictures leave such settings out.",
        "The highest accuracy is that of the evaluations: after every 4 epochs in figures 1, 2, 3 and 5, and after every epoch "
        "in the others; in the quick variant after every 2 (figures 1 to 5) or 5 (6 and 7), in the desk variant after every 4. The paper does not say how often it "
        "evaluates; the more often, the higher the highest, for all settings alike.",
        "Verdicts take all seeds of a setting: which of them turned out well says nothing of the setting.",
    ),
    sizes={
        "quick": "a network with three hidden layers of 128 in place of the Wide-ResNets and of three layers of 4096 (Wide-ResNets "
        "with 4 channels were tried: trained so briefly they have learned next to nothing), 1,024 training examples in place "
        "of 40,000 or 60,000, no crops and flips, the first 2,000 (CIFAR-10) or 5,000 (Fashion-MNIST) test examples, batches "
        "of 8, 16 and 32, 24 or 40 epochs in place of 6400 or 400, fewer and larger learning rates and regularizers, and the "
        "best 2 of 2 (figures 1 to 5) or 5 of 5 runs in place of the best 5 of 7. From figures 1 to 5 nothing is concluded. The networks fit all training examples, at most learning rates, and "
        "there is room for the effect",
        "desk": "a 10-1 Wide-ResNet with 8 channels in place of 16, also in figure 4, where the paper has a 16-4 one; the first 2,000 "
        "training and 4,000 test images, crops and flips as in the paper, batches of 16 (figure 3: 4, 8 and 16) in place of 32, "
        "100 epochs (figure 4: 48) in place of 6400 (400), n up to 4 in place of 16, larger learning rates and regularizers, and "
        "the best 5 of 5 (figure 4: 7) runs",
    },
)
