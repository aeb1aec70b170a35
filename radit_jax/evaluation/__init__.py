"""What came out: scores with intervals, a table for the terminal, and the report."""
