"""The kernel's way to write a set of small numbers: "0-3,8" are the CPUs 0, 1, 2, 3 and 8."""

_MOST = 1 << 16  # no kernel counts as many CPUs or nodes


def parse_list(text: str | None) -> frozenset[int] | None:
    """None for what is not such a list; the empty list has no members."""
    if text is None:
        return None
    members: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        if not first.isdecimal() or not (last or first).isdecimal():
            return None
        if int(last or first) >= _MOST:
            return None
        members.update(range(int(first), int(last or first) + 1))
    return frozenset(members)
