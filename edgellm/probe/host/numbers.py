"""The kernel's ways to write numbers: one in decimal or as "0x1f"; a set of small ones as "0-3,8",
which are 0, 1, 2, 3 and 8."""

_MAX_MEMBER = 1 << 16  # no kernel counts as many CPUs or nodes


def parse_number(text: str) -> int | None:
    """None for what is neither decimal nor hexadecimal."""
    try:
        return int(text, 16 if text.strip().lower().startswith("0x") else 10)
    except ValueError:
        return None


def parse_list(text: str | None) -> frozenset[int] | None:
    """None for what is not such a list; the empty list has no members."""
    if text is None:
        return None
    members: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        if not first.isdecimal() or not (last or first).isdecimal():
            return None
        if int(last or first) >= _MAX_MEMBER:
            return None
        members.update(range(int(first), int(last or first) + 1))
    return frozenset(members)
