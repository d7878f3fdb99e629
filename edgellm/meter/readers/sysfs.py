"""One value from one of the kernel's files; None when it doesn't tell."""

from edgellm.probe.host.numbers import parse_number
from edgellm.probe.sources import NoAnswer, Sources


def text(sources: Sources, path: str) -> str | None:
    answer = sources.read_text(path)
    return None if isinstance(answer, NoAnswer) else answer.strip()


def number(sources: Sources, path: str) -> int | None:
    return parse_number(text(sources, path) or "")


def scaled(sources: Sources, path: str, divisor: float) -> float | None:
    """millidegrees → degrees, microwatts → watts: the file's number / `divisor`."""
    value = number(sources, path)
    return None if value is None else value / divisor


def labelled(sources: Sources, chip: str, kind: str, label: str) -> str | None:
    """The path of the value that a hwmon chip calls `label`: ("temp", "junction") -> temp2_input"""
    for path in sources.list(f"{chip}/{kind}*_label"):
        if (text(sources, path) or "").lower() == label:
            return path.removesuffix("_label") + "_input"
    return None


def hwmon(sources: Sources, folder: str) -> str | None:
    """A device's own chip of sensors."""
    return next(iter(sources.list(f"{folder}/hwmon/hwmon*")), None)
