"""One tool over many rows."""
