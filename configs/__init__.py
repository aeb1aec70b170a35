"""Runs as plain Python: each file has `get_config(variant)`."""
