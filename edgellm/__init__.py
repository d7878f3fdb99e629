"""edgellm: probe the machine, pick the model file and its placement, serve it, show it."""

__version__ = "0.1.0"
