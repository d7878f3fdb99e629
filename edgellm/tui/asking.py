"""Whether a question can be put now. Pure: a view to the model's name, or to what it waits for."""

from dataclasses import dataclass

from edgellm.errors import NotServing
from edgellm.status import MAKING_THE_CONTEXT, ModelStatus, is_all_read
from edgellm.tui.view import PASSING, View


@dataclass(frozen=True, slots=True)
class Ask:
    model: str


@dataclass(frozen=True, slots=True)
class Wait:
    reason: str


def ask_or_wait(view: View) -> Ask | Wait:
    """Raises NotServing where waiting is in vain.

    A server that is silent for a moment may be busy: it is asked all the same, and answers for
    itself.
    """
    if view.status is None:
        if view.is_refused:
            raise NotServing(view.problem or "")
        return Wait(view.problem or "connecting")
    model = view.model
    if model is None:
        if view.status.download is not None and view.status.download.error is None:
            return Wait(f"{view.status.download.name} is on its way")
        raise NotServing("the server has no model yet")
    if model.embedding:
        does = "ranks documents" if model.reranking else "makes embeddings"
        raise NotServing(f"{model.name} {does}; it does not chat")
    if model.state in PASSING and view.is_live:
        return Wait(f"{model.name} is {_doing(model)}")
    if model.state in PASSING or model.state in ("ready", "sleeping"):
        return Ask(model.name)
    why = f": {model.detail}" if model.detail else ""
    raise NotServing(f"{model.name} is {model.state}{why}")


def _doing(model: ModelStatus) -> str:
    is_read = model.state in ("loading", "waking") and is_all_read(model.progress_ratio)
    return MAKING_THE_CONTEXT if is_read else model.state
