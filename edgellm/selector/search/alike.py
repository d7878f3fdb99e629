"""Other plans made comparable with the chosen one: its micro-batch, its way with prompts.

The search refines few winners; what stands beside them on a screen would look slow for no reason
of its own.
"""

from dataclasses import replace

from edgellm.selector.search.options import Option
from edgellm.selector.search.search import Search


def alike(search: Search, option: Option, chosen: Option) -> Option:
    """The option once more, as it was when that doesn't fit."""
    if option.setting.embedding or option.placement.split_mode != "layer":
        return option
    setting = replace(option.setting, n_ubatch=chosen.setting.n_ubatch)
    ways = replace(option.ways, op_offload=chosen.ways.op_offload)
    if (setting, ways) == (option.setting, option.ways):
        return option
    found = search.look(setting, option.devices, ways)
    return found if isinstance(found, Option) else option
