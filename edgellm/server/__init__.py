"""Speak HTTP: a route table, one file a dialect."""
