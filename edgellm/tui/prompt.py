"""The field where a question is written."""

from dataclasses import dataclass
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.events import Key
from textual.message import Message
from textual.widgets import TextArea

from edgellm.tui.conversation import Questions


class Prompt(TextArea):
    """Grows with what is written. Enter sends; the arrows walk through earlier questions.

    Its own keys are taken where the letters are: as a binding, Enter would overtake letters that
    still wait in the field's queue, and send a question without its end, or nothing.
    """

    BINDINGS: ClassVar[list[BindingType]] = [  # for the key legend, and a click on it
        Binding("enter", "send", "send"),
        Binding("ctrl+j,shift+enter", "new_line", "new line", key_display="^j"),
    ]
    DEFAULT_CSS = """
    Prompt {
        height: auto; max-height: 8; border: round $tone-border; padding: 0 1;
        background: $background; scrollbar-size-vertical: 1;
    }
    Prompt:focus { border: round $primary; }
    Prompt .text-area--placeholder { color: $tone-dim; }
    """

    @dataclass
    class Sent(Message):
        text: str

    def __init__(self) -> None:
        super().__init__(
            placeholder="Ask the model something", compact=False, highlight_cursor_line=False
        )
        self.cursor_blink = False  # a blinking cursor is a repaint twice a second, all day
        self._questions = Questions()

    def on_key(self, event: Key) -> None:
        own = {
            "enter": self.action_send,
            "ctrl+j": self.action_new_line,
            "shift+enter": self.action_new_line,
        }
        if act := own.get(event.key):
            event.stop()
            event.prevent_default()
            act()

    def action_send(self) -> None:
        """The field is free at once: what is typed from here on is the next question's."""
        if text := self.text.strip():
            self.clear()
            self.post_message(self.Sent(text))

    def accept(self, text: str) -> None:
        """It was sent."""
        self._questions.add(text)

    def give_back(self, text: str) -> None:
        """It could not be sent; what was typed since stands below it."""
        self.text = "\n".join(filter(None, (text, self.text)))
        self.move_cursor(self.document.end)

    def action_new_line(self) -> None:
        self.insert("\n")

    def action_cursor_up(self, select: bool = False) -> None:
        if self.cursor_location[0] == 0 and not select:
            self._replace_with(self._questions.earlier(self.text))
        else:
            super().action_cursor_up(select)

    def action_cursor_down(self, select: bool = False) -> None:
        if self.cursor_location[0] == self.document.line_count - 1 and not select:
            self._replace_with(self._questions.later())
        else:
            super().action_cursor_down(select)

    def _replace_with(self, text: str | None) -> None:
        if text is not None:
            self.text = text
            self.move_cursor(self.document.end)
