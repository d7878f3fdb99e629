"""The files that ship with edgellm: profiles/ and the demo model.

A wheel carries profiles/ inside the package; an editable install has it beside the package,
at the repository's root. Everybody asks here, so nobody else has to know.
"""

from pathlib import Path

from edgellm.errors import ConfigError

_PACKAGE = Path(__file__).parent


def profiles_dir() -> Path:
    """Raises ConfigError when the installation lost them."""
    for place in (_PACKAGE / "profiles", _PACKAGE.parent / "profiles"):
        if (place / "workloads").is_dir():
            return place
    raise ConfigError("profiles/ is missing from this installation", hint="install edgellm again")


def demo_model() -> Path:
    """The tiny model that works without network and without a download."""
    return _PACKAGE / "demo" / "demo.gguf"
