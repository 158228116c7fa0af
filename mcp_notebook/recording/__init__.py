"""What was asked of servers and answered, kept in a file, and answered from it without them."""
