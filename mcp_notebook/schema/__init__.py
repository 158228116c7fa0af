"""JSON Schema, names and values as Python sees them. Pure."""
