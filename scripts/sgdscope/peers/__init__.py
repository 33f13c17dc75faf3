"""Measures training steps of PyTorch, Opacus and JAX next to the same steps in sgdscope."""
