"""What `edgellm tune` may set: what changes how soon an answer comes, and not which."""

from dataclasses import replace

from edgellm.selector.plan import Plan
from edgellm.values import frozen


@frozen
class Knobs:
    n_threads: int
    n_batch: int
    n_ubatch: int
    flash_attention: bool | None
    tensor_split: tuple[float, ...] = ()

    @classmethod
    def of(cls, plan: Plan) -> "Knobs":
        return cls(
            plan.n_threads,
            plan.n_batch,
            plan.n_ubatch,
            plan.flash_attention,
            plan.placement.tensor_split if len(plan.devices) > 1 else (),
        )

    def on(self, plan: Plan) -> Plan:
        """The same plan otherwise; its predicted bytes and speeds stay those of before."""
        split = self.tensor_split or plan.placement.tensor_split
        return replace(
            plan,
            n_threads=self.n_threads,
            n_batch=self.n_batch,
            n_ubatch=self.n_ubatch,
            flash_attention=self.flash_attention,
            placement=replace(plan.placement, tensor_split=split),
        )

    def changes(self, since: "Knobs") -> tuple[str, ...]:
        """ "threads 4 (8)": what is other than in `since`, with what it was."""
        words = {
            "n_threads": "threads",
            "n_ubatch": "micro-batch",
            "n_batch": "batch",
            "flash_attention": "flash attention",
            "tensor_split": "split",
        }
        return tuple(
            f"{word} {_said(getattr(self, name))} ({_said(getattr(since, name))})"
            for name, word in words.items()
            if getattr(self, name) != getattr(since, name)
        )


def _said(value: object) -> str:
    match value:
        case None:
            return "auto"
        case bool():
            return "on" if value else "off"
        case tuple():
            return ",".join(f"{part:g}" for part in value)
        case _:
            return str(value)
