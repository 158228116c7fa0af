"""How a cell waits for a call, and what happens meanwhile: progress, questions, Stop."""
