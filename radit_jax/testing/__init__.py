"""A toy world for the tests: documents, questions, tokenizers and random models."""
