"""A person at the prompt of `edgellm run`."""


def typing(*lines):
    """Each line is typed at the prompt; an exception is raised there; then comes Ctrl-D."""
    waiting = [*lines, EOFError()]

    def read(prompt):
        line = waiting.pop(0)
        if isinstance(line, BaseException):
            raise line
        return line

    return read
