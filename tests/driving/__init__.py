"""Drives real kernels and a real JupyterLab, the way a person does."""
