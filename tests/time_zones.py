from datetime import UTC, datetime


def noon() -> str:
    """A zone for TZ in which it is about noon, so that no midnight comes between."""
    return f"HERE{datetime.now(UTC).hour - 12:+d}"
