"""Commands gather, decide, print; only main() exits."""
