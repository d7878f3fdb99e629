"""`python -m edgellm` is `edgellm`."""

from edgellm.cli.main import main

main()
