"""The paper's equations, as pure functions of arrays."""
