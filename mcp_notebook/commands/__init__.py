"""The ``%mcp`` language: a line becomes a value. Pure: it contacts nothing and shows nothing."""
