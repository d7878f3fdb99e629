"""Talking with a model on plain lines: ask, write the answer as it comes, remember both."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from edgellm.cli.flow import Flow
from edgellm.cli.history import History
from edgellm.cli.output import columns, say, say_error
from edgellm.cli.pictures import data_urls
from edgellm.cli.serving.client import Client
from edgellm.cli.waiting import Waiting
from edgellm.errors import ContextTooLong, EdgellmError
from edgellm.tui.drawn.untrusted import prose
from edgellm.tui.terminal import has_style
from edgellm.tui.told.answers import Piece, Timings
from edgellm.tui.told.questions import Asked, Message, with_pictures
from edgellm.units import format_rate, format_seconds

_HELP = """\
  /clear        forget what was said
  /image FILE   show a picture with the next question
  /system TEXT  what the model is told before everything; forgets what was said
  /verbose      tell how long each answer took, or stop telling
  /bye          end (Ctrl-D, too)
  \"\"\"           begin and end a question of several lines
  Ctrl-C stops an answer"""
_FENCE = '"""'
_FAINT = ("\x1b[2m", "\x1b[0m")
_MARKED = ("(thinking) ", "")  # where nothing can be faint


@dataclass(slots=True)
class Answering:
    """One conversation with one model. What was broken off is remembered as far as it came."""

    url: str
    model: str
    system: str | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    verbose: bool = False
    pictures: Sequence[str] = ()  # data URLs, shown with the next question
    said: list[Message] = field(default_factory=list)

    def ask(self, question: str) -> None:
        """Writes the answer to stdout. Raises EdgellmError; KeyboardInterrupt on Ctrl-C."""
        shown, self.pictures = self.pictures, ()
        self.said.append(with_pictures(shown, question) if shown else Message("user", question))
        begun_s, written = time.monotonic(), _Written()
        waiting = Waiting(lambda: "waiting for the first word …")
        try:
            for piece in self._pieces(waiting.end):
                if piece.text or piece.thought:
                    waiting.end()
                written.thought(piece.thought)
                written.text(piece.text)
                written.timings = piece.timings or written.timings
                written.reason = piece.reason or written.reason
        finally:
            waiting.end()
            written.end()
            if written.answer:
                self.said.append(Message("assistant", written.answer))
            else:
                self.said.pop()  # many templates refuse two questions in a row
        if written.reason == "length" and "max_tokens" not in self.options:
            say("(cut at the length limit)")
        if self.verbose and written.timings:
            say(timing_lines(written.timings, time.monotonic() - begun_s))

    def _pieces(self, before_said: Callable[[], None]) -> Iterator[Piece]:
        """As long as all that was said is too much for the model, it is asked the newer half."""
        first = [Message("system", self.system)] if self.system else []
        asked, has_begun = Asked(self.said), False
        with Client(self.url) as client:
            while True:
                try:
                    for piece in client.chat(self.model, [*first, *asked.messages], **self.options):
                        if asked.n_left_out and not has_begun:
                            before_said()
                            say(f"({asked.note})")
                            self.said[:] = asked.messages
                        has_begun = True
                        yield piece
                    return
                except ContextTooLong:
                    if has_begun or not asked.leave_out():
                        raise

    def show(self, path: str) -> None:
        """With the next question, after those that wait for it. Raises BadRequest."""
        self.pictures = (*self.pictures, *data_urls([path]))

    def forget(self) -> None:
        self.said.clear()
        self.pictures = ()


class _Written:
    """What has been written. Thoughts are told apart on a terminal, and only told there; lines end
    between words there."""

    def __init__(self) -> None:
        self.answer = ""
        self.timings: Timings | None = None
        self.reason: str | None = None
        self._is_terminal = sys.stdout.isatty()
        self._flow = Flow(columns)
        self._begin, self._end = _FAINT if has_style(sys.stdout) else _MARKED
        self._is_thinking = False

    def thought(self, text: str) -> None:
        if text and self._is_terminal:
            begin = "" if self._is_thinking else self._begin
            print(begin + self._flow.feed(prose(text)), end="", flush=True)
            self._is_thinking = True

    def text(self, text: str) -> None:
        if text:
            if self._is_thinking:
                print(self._flow.rest() + self._end + self._flow.feed("\n\n"), end="")
                self._is_thinking = False
            print(self._flow.feed(prose(text)) if self._is_terminal else text, end="", flush=True)
            self.answer += text

    def end(self) -> None:
        """Where nothing was written there is no line to end."""
        if self._is_thinking or self.answer:
            print(self._flow.rest(), end=self._end if self._is_thinking else "")
            print(flush=True)


def converse(
    answering: Answering, read: Callable[[str], str] = input, history: History | None = None
) -> None:
    """Until /bye or the end of the input. `read` is given a prompt and returns a line; what it
    returns is kept in `history`."""
    _edit_lines(history.lines() if history else ())
    if history:
        read = history.noting(read)
    say(f"{answering.model} · /? for help, /bye to end")
    for question in _questions(read):
        word, _, rest = question.partition(" ")
        match word:
            case "/bye" | "/exit" | "/quit":
                return
            case "/?" | "/help":
                print(_HELP)
            case "/clear":
                answering.forget()
                say("(what was said is forgotten)")
            case "/system":
                answering.system = rest.strip() or None
                answering.forget()
                say(_instructed(answering.system))
            case "/image":
                _show(answering, rest.strip())
            case "/verbose":
                answering.verbose = not answering.verbose
                say(f"(how long an answer took is {'' if answering.verbose else 'no longer '}told)")
            case _ if word.startswith("/") and word[1:].isalpha():
                print(f"{word} is no command\n{_HELP}")
            case _:
                _answer(answering, question)


def timing_lines(timings: Timings, total_s: float) -> str:
    """As `ollama run --verbose` says it."""
    rows = (
        ("total duration", format_seconds(total_s)),
        ("prompt eval count", f"{timings.prompt_n} token(s), {timings.cache_n} more from cache"),
        ("prompt eval duration", format_seconds(timings.prompt_ms / 1000)),
        ("prompt eval rate", format_rate(timings.prompt_per_second, "tokens/s")),
        ("eval count", f"{timings.predicted_n} token(s)"),
        ("eval duration", format_seconds(timings.predicted_ms / 1000)),
        ("eval rate", format_rate(timings.predicted_per_second, "tokens/s")),
    )
    return "\n".join(f"{name + ':':<22}{value}" for name, value in rows)


def _show(answering: Answering, path: str) -> None:
    try:
        answering.show(path)
    except EdgellmError as error:
        say_error(error)


def _answer(answering: Answering, question: str) -> None:
    """A failed answer ends the answer, not the conversation."""
    try:
        answering.ask(question)
    except KeyboardInterrupt:
        say("(stopped)")
    except EdgellmError as error:
        say_error(error)


def _questions(read: Callable[[str], str]) -> Iterator[str]:
    """Ctrl-C at the prompt throws the line away, as in a shell."""
    while True:
        try:
            line = read(">>> ").strip()
            if line.startswith(_FENCE):
                line = _several_lines(line, read)
        except KeyboardInterrupt:
            say("\n(/bye or Ctrl-D ends it)")
            continue
        except EOFError:
            print()
            return
        if line:
            yield line


def _several_lines(first: str, read: Callable[[str], str]) -> str:
    lines = [first.removeprefix(_FENCE)]
    while not lines[-1].rstrip().endswith(_FENCE):
        lines.append(read("... "))
    lines[-1] = lines[-1].rstrip().removesuffix(_FENCE)
    return "\n".join(lines).strip()


def _instructed(system: str | None) -> str:
    told = "the model is told this before everything" if system else "the model is told nothing"
    return f"({told}; what was said is forgotten)"


def _edit_lines(earlier: Iterable[str]) -> None:
    """Arrow keys and what was typed `earlier`, where this Python has readline. A paste of several
    lines is one question: Python switches that off, for its own prompt's sake (bpo-42819)."""
    with contextlib.suppress(ImportError):
        import readline

        for line in earlier:
            readline.add_history(line)
        readline.parse_and_bind("set enable-bracketed-paste on")
