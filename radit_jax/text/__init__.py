"""Text in, token ids out: tokenizers, templates, chunking, answers. No jax here."""
