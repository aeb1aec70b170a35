"""What a program needs on a TPU slice that is not there, from its compiler."""
