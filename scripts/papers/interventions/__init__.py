"""Experiments that decide between the papers' explanations: what their figures have in common here."""

from __future__ import annotations

from sgdscope.figure import Paper

PAPER = Paper(
    about="experiments that decide between the papers' explanations",
    departures=("All of it is ours: no paper shows these figures.",),
    sizes={"quick": "5,000 images of MNIST, smaller networks and 400 steps in place of 50,000 and 6,000"},
)
