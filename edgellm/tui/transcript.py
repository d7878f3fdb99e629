"""The conversation on the screen. Text is shown as it is: no markup, no links."""

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Static

from edgellm.harmless import prose
from edgellm.tui.conversation import Answer


class Question(Static):
    DEFAULT_CSS = """
    Question { margin: 1 2 0 0; padding: 0 1; border-left: outer $primary; text-style: bold; }
    """

    def __init__(self, text: str) -> None:
        super().__init__(prose(text), markup=False)


class AnswerBlock(Vertical):
    """Thought, text and a line of figures; what is empty takes no room."""

    DEFAULT_CSS = """
    AnswerBlock { height: auto; margin: 1 2 0 2; }
    AnswerBlock Static { height: auto; }
    AnswerBlock .-empty { display: none; }
    AnswerBlock #thought { color: $tone-dim; text-style: italic; margin-bottom: 1; }
    AnswerBlock #note { color: $tone-label; margin-top: 1; }
    AnswerBlock #note.-error { color: $error; }
    AnswerBlock #note.-alone { margin-top: 0; }
    """

    def compose(self) -> ComposeResult:
        yield Static(id="thought", classes="-empty", markup=False)
        yield Static("…", id="text", markup=False)
        yield Static(id="note", classes="-empty", markup=False)

    def show(self, answer: Answer) -> None:
        self._put("#thought", prose(answer.thought).strip())
        self._put("#text", prose(answer.text).strip())

    def note(self, text: str, *, is_error: bool = False) -> None:
        self._put("#note", f"✗ {text}" if is_error else text)
        self.query_one("#note").set_class(is_error, "-error")
        self.query_one("#note").set_class(self.query_one("#text").has_class("-empty"), "-alone")

    def _put(self, selector: str, text: str) -> None:
        static = self.query_one(selector, Static)
        static.set_class(not text, "-empty")
        static.update(text)


class Hint(Static):
    """What stands in an empty chat."""

    DEFAULT_CSS = "Hint { color: $tone-dim; margin: 1 2; height: auto; }"


class Transcript(VerticalScroll, can_focus=False):
    """Follows its end until somebody scrolls away from it."""

    DEFAULT_CSS = """
    Transcript { height: 1fr; scrollbar-size-vertical: 1; padding: 0 1 1 1; }
    """

    def on_mount(self) -> None:
        self.anchor()

    async def ask(self, question: str) -> AnswerBlock:
        """Puts the question at the end, and an empty answer under it."""
        block = AnswerBlock()
        await self.query(Hint).remove()
        await self.mount(Question(question), block)
        self.anchor()
        return block

    async def clear(self) -> None:
        await self.remove_children()
