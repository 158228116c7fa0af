"""What is written down and remembered: servers, accounts, trusted programs. Never a token."""
