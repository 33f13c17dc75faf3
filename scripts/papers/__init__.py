"""The papers' figures: a package for each paper, a module for each figure."""
