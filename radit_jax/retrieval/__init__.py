"""Embedding texts and searching the embeddings."""
