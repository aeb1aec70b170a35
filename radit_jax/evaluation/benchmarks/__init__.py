"""The paper's benchmarks: their files, prompts, retriever queries and scores."""
