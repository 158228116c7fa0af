"""The rooms that know a notebook, or a terminal, is there. Nothing in the core imports them."""
