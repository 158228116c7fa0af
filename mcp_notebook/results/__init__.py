"""What a server answered, as a citizen of a notebook: values, text, tables, pictures."""
