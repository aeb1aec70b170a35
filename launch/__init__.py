"""Command lines: one absl script a stage, and `run_pipeline` for all of them."""
