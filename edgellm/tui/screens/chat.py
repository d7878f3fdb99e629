"""The chat: a transcript, a field, and what the model is doing."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Resize
from textual.screen import Screen
from textual.widgets import Footer
from textual.worker import Worker, WorkerError

from edgellm.errors import ContextTooLong, EdgellmError
from edgellm.harmless import plain
from edgellm.tui.asking import Ask, Wait, ask_or_wait
from edgellm.tui.canvas import Canvas
from edgellm.tui.conversation import Answer, Conversation
from edgellm.tui.drawn.dashboard import banner
from edgellm.tui.drawn.lines import Line, Span, fit, joined, spread, width_of
from edgellm.tui.drawn.model import is_last, state_note, used_cells
from edgellm.tui.prompt import Prompt
from edgellm.tui.told.answers import Piece
from edgellm.tui.told.follower import Follower
from edgellm.tui.told.questions import Asked
from edgellm.tui.transcript import AnswerBlock, Hint, Transcript
from edgellm.tui.view import View
from edgellm.units import format_rate

_THINKS: dict[bool | None, tuple[str, Line]] = {  # what is told, and the sign of it that stays
    None: ("thinks or doesn't, as it does by itself", ()),
    False: ("answers at once", (Span("  no thoughts", "accent"),)),
    True: ("thinks before it answers", (Span("  thinks first", "accent"),)),
}
_FRAME_S, _LONG_FRAME_S, _LONG_CHARS = 0.07, 0.25, 12_000  # a long answer costs more to wrap


class ChatScreen(Screen[None]):
    AUTO_FOCUS = "Prompt"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop_or_leave", "stop / back", priority=True),
        Binding("ctrl+n", "new", "new chat", priority=True),
        Binding("ctrl+t", "think", "thoughts", priority=True),  # hidden where it can't be said:
        Binding("ctrl+t", "think_in_vain", show=False, priority=True),  # then this one answers
        Binding("ctrl+o", "next_model", "model", priority=True),  # hidden where there is no other
        Binding("ctrl+q", "app.quit", "quit", priority=True),
        Binding("ctrl+c", "interrupt", show=False, priority=True),
    ]
    DEFAULT_CSS = """
    ChatScreen Canvas { height: 1; width: 1fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._conversation = Conversation()
        self._answering: Worker[None] | None = None
        self._newer_view = asyncio.Event()
        self._frame_due = False
        self._thinks: bool | None = None
        self._legend = (True, False)  # whether thoughts and models can be switched
        self._last_tok_s: float | None = None  # of the answer that ended last
        self._banner, self._facts = Canvas(id="banner"), Canvas(id="facts")
        self._transcript, self._prompt = Transcript(), Prompt()

    def compose(self) -> ComposeResult:
        yield from (self._banner, self._transcript, self._facts, self._prompt)
        yield Footer()

    async def on_mount(self) -> None:
        await self._invite()

    def on_screen_resume(self) -> None:
        self.draw(self._top.view)

    def on_resize(self, _: Resize) -> None:
        self.call_after_refresh(self.on_screen_resume)

    def draw(self, view: View) -> None:
        width = self.size.width
        self._banner.show([banner(view, width)])
        self._newer_view.set()
        self._facts.set_class(not view.is_live, "-stale")
        self._facts.show([_facts(view, self._asked_thoughts, self._last_tok_s, width)])
        legend = (view.can_switch_thoughts, len(view.choices) > 1)
        if legend != self._legend:
            self._legend = legend
            self.refresh_bindings()

    async def on_prompt_sent(self, event: Prompt.Sent) -> None:
        if self._is_answering:
            self._prompt.give_back(event.text)
            self._tell("the model is still answering: Esc stops it")
            return
        self._prompt.accept(event.text)
        block = await self._transcript.ask(event.text)
        self._answering = self.run_worker(self._answer(event.text, block))

    def action_stop_or_leave(self) -> None:
        if not self._stopped():
            self.app.switch_screen("top")

    def action_interrupt(self) -> None:
        """As in a shell: stops what runs, else empties the line. With a selection, copies it."""
        if selected := self.get_selected_text():
            self.app.copy_to_clipboard(selected)
        elif not self._stopped():
            if self._prompt.text:
                self._prompt.clear()
            else:
                self._tell("Ctrl-Q quits, Esc goes back")

    def action_think(self) -> None:
        """By turns as the model does, not at all, always. From the next question on."""
        later = (*_THINKS, *_THINKS)[list(_THINKS).index(self._thinks) + 1]
        self._thinks = later
        self.draw(self._top.view)
        self._tell(f"from the next question on the model {_THINKS[later][0]}")

    def action_think_in_vain(self) -> None:
        model = self._top.view.model
        self._tell(f"{model.name if model else 'the model'} can't be told whether to think")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Which of the two that one key means; and whether there is another model."""
        view = self._top.view
        if action == "next_model":
            return len(view.choices) > 1
        return view.can_switch_thoughts if action == "think" else True

    def action_next_model(self) -> None:
        """From the next question on, with what was said so far."""
        self._top.view = self._top.view.about_next()
        if model := self._top.view.model:
            self._tell(f"from the next question on {model.name} is asked")

    async def action_new(self) -> None:
        if self._answering and self._stopped():
            with suppress(WorkerError):
                await self._answering.wait()  # or it would keep its half answer in the new one
        self._conversation.clear()
        await self._transcript.clear()
        await self._invite()

    def _tell(self, words: str) -> None:
        """In place of what was told before: a key that is held would fill the screen."""
        self.app.clear_notifications()
        self.notify(words, timeout=3)

    def _stopped(self) -> bool:
        """Whether there was something to stop."""
        if self._answering is None or self._answering.is_finished:
            return False
        self._answering.cancel()
        return True

    @property
    def _is_answering(self) -> bool:
        return self._answering is not None and not self._answering.is_finished

    async def _invite(self) -> None:
        words = "Enter sends, Ctrl-J begins a new line, ↑ brings earlier questions back."
        await self._transcript.mount(Hint(words, markup=False))

    async def _ready_model(self, block: AnswerBlock) -> str:
        """Its name, as soon as it can be asked. Raises NotServing where waiting is in vain."""
        while True:
            match ask_or_wait(self._top.view):
                case Ask(model):
                    block.note("")
                    self._top.view = self._top.view.about(model)  # others may come and go meanwhile
                    return model
                case Wait(reason):
                    block.note(f"{reason}; your question waits · Esc stops")
            self._newer_view.clear()
            await self._newer_view.wait()

    async def _answer(self, question: str, block: AnswerBlock) -> None:
        """Ends with a note under the answer, whichever way it ends."""
        answer = Answer(Asked(self._conversation.with_question(question)))
        clock = asyncio.get_running_loop().time
        try:
            model = await self._ready_model(block)
            asked_s = clock()
            async with aclosing(self._pieces(model, answer)) as pieces:
                async for piece in pieces:
                    answer.add(piece, clock() - asked_s)
                    self._draw_soon(answer, block)
        except asyncio.CancelledError:
            self._finish(block, answer, "stopped")
            self._conversation.keep(answer.asked.messages, answer.text)
            raise
        except EdgellmError as error:
            self._finish(block, answer, plain(str(error)), is_error=True)
        else:
            self._last_tok_s = answer.decode_tok_s
            self.draw(self._top.view)
            self._finish(block, answer, answer.summary())
            self._conversation.keep(answer.asked.messages, answer.text)

    async def _pieces(self, model: str, answer: Answer) -> AsyncGenerator[Piece]:
        """As long as all that is asked is too much for the model, it is asked the newer half."""
        while True:
            try:
                told = self._top.server.answer(model, answer.asked.messages, self._asked_thoughts)
                async with aclosing(told) as pieces:
                    async for piece in pieces:
                        yield piece
                return
            except ContextTooLong:
                if answer.first_s is not None or not answer.asked.leave_out():
                    raise

    def _finish(
        self, block: AnswerBlock, answer: Answer, note: str, *, is_error: bool = False
    ) -> None:
        if block.is_mounted and block.is_attached:
            block.show(answer)
            block.note(note, is_error=is_error)

    def _draw_soon(self, answer: Answer, block: AnswerBlock) -> None:
        """At most a few times a second, however fast the tokens come."""
        if not self._frame_due:
            self._frame_due = True
            pause_s = _FRAME_S if len(answer.text) < _LONG_CHARS else _LONG_FRAME_S
            self.set_timer(pause_s, lambda: self._draw_now(answer, block))

    def _draw_now(self, answer: Answer, block: AnswerBlock) -> None:
        """Unless it has ended: then all of it is there, or its parts are just being removed."""
        self._frame_due = False
        if self._is_answering and block.is_attached:
            block.show(answer)

    @property
    def _asked_thoughts(self) -> bool | None:
        """What was wished stays for a model that can: one may come in this one's place."""
        return self._thinks if self._top.view.can_switch_thoughts else None

    @property
    def _top(self) -> Follower:
        return cast("Follower", self.app)


def _facts(view: View, thinks: bool | None, last_tok_s: float | None, width: int) -> Line:
    """While one answer is written, its speed; beside others the mean of all. Afterwards the last
    answer's own, said so. What is asked of its thoughts stands there, too."""
    model = view.model
    if model is None:
        return spread((Span(" no model", "dim"),), (), width)
    name = Span(f" {fit(model.name, width // 3)}  ", "strong")
    left = (name, *state_note(model, view), *_THINKS[thinks][1])
    queue = f"{model.n_running} running · {model.n_waiting} waiting"
    is_idle = model.n_running == 0
    now_tok_s = model.decode_tok_s if is_last(model) else model.stream_tok_s
    rate = format_rate(last_tok_s if is_idle else now_tok_s)
    speed = f"last answer {rate}" if is_idle and last_tok_s is not None else rate
    right = joined((speed, queue, f"{used_cells(model)} cells"), width - width_of(left) - 2)
    return spread(left, (Span(f"{right} ", "label"),), width)
