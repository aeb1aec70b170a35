"""Instruction data: questions from corpus text, and examples packed into batches."""
