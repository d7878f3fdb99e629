"""What should run: facts and a goal in, a Plan out. Pure."""
