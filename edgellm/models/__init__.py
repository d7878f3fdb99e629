"""What is this file, and where: GGUF headers, names, the hub, files on disk."""
