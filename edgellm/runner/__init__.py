"""Make it so: the worker process, its scheduler, and the supervisor that keeps it alive."""
