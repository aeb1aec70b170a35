"""Decoder and encoder networks, and the files that they are read from."""
