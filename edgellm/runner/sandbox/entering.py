"""A worker enters its sandbox, as far as it is wanted and can be had."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from edgellm.models.names import shard_names
from edgellm.runner.messages import Load
from edgellm.runner.sandbox import places
from edgellm.runner.sandbox.confine import NotConfined, confine
from edgellm.runner.sandbox.rules import Rules, is_wanted, rules_for


def enter_sandbox(
    load: Load, imports: Callable[[], None], log: Callable[[str], None]
) -> int | None:
    """Returns Landlock's ABI; None: there is no sandbox, and where one was wanted the log says why.
    `imports` brings all that the worker goes on with, and the libraries that these load. Raises
    NotConfined where a sandbox is insisted on and can't be had."""
    names = places.library_names()
    if not is_wanted(load.sandbox.mode, load.plan, names):
        return None
    if load.plan.prefix_disk:
        with contextlib.suppress(OSError):  # who keeps files there says what is wrong with it
            Path(load.plan.prefix_disk).mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        return confine(_rules(load, names), imports)
    except NotConfined as error:
        if load.sandbox.mode == "on":
            raise NotConfined(f"the sandbox can't be had, and is insisted on: {error}") from error
        log(f"served without a sandbox: {error}")
        return None


def _rules(load: Load, names: tuple[str, ...]) -> Rules:
    """Paths as the system spells them."""
    adapters = tuple(os.fsdecode(path) for _, path in load.adapters)
    models = filter(None, (os.fsdecode(load.path), load.plan.draft))
    parts = tuple(part for model in models for part in _parts(Path(model)))
    may_come = (*(path for _, path in load.later_adapters), *load.sandbox.reach)
    return rules_for(
        load.plan,
        (*parts, *adapters),
        later=tuple(os.fsdecode(path) for path in may_come),
        code=places.code(),
        home=None if is_wanted("auto", load.plan, names) else os.environ.get("HOME", ""),
    )


def _parts(model: Path) -> Iterator[str]:
    return (str(model.with_name(name)) for name in shard_names(model.name))
