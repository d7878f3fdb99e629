"""`edgellm`, and `python -m edgellm`: where the program begins.

The rest is imported in here, for Ctrl-C may come meanwhile.
"""

import sys

_INTERRUPTED = 130  # as a shell tells it


def main() -> None:
    try:
        from edgellm.cli.garbage import collect_seldom

        collect_seldom()
        from edgellm.cli.main import main as command

        command()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
