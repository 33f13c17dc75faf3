"""Reproduces figures of papers: what to run, what came out, whether the papers' claims hold, and the report of it."""
