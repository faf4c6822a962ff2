"""What an operating system is to the harness: data first, one folder a guest family."""
