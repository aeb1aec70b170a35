"""Documents, questions and the chunk store: what the user brings, and stage 1 keeps."""
