"""What a person holds: a server as a Python object, with its tools, resources and prompts."""
