"""RA-DIT (Retrieval-Augmented Dual Instruction Tuning) in JAX."""

__version__ = "0.1.0"
