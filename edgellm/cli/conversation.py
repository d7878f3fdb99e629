"""Talking with a model on plain lines: ask, write the answer as it comes, remember both."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from edgellm.cli.attachments import audio_parts, image_parts
from edgellm.cli.history import History
from edgellm.cli.output import columns, say, say_error
from edgellm.cli.serving.client import Client
from edgellm.cli.serving.find import servers_with
from edgellm.cli.waiting import Waiting
from edgellm.cli.word_wrap import WordWrap
from edgellm.errors import BadRequest, ContextTooLong, EdgellmError
from edgellm.harmless import prose
from edgellm.status import ModelStatus
from edgellm.tui.terminal import has_style
from edgellm.tui.told.answers import Piece, Timings
from edgellm.tui.told.questions import Asked, Message, Part, thinking, with_pictures
from edgellm.units import format_rate, format_seconds

_HELP = """\
  /clear        forget what was said
  /image FILE   show a picture with the next question
  /audio FILE   play a sound with it
  /think on     think first; off: answer at once; alone: as the model does
  /system TEXT  what the model is told before everything; forgets what was said
  /verbose      tell how long each answer took, or stop telling
  /bye          end (Ctrl-D, too)
  \"\"\"           begin and end a question of several lines
  Ctrl-C stops an answer"""
_THINKS: Mapping[str, tuple[bool | None, str]] = {
    "on": (True, "thinks before it answers"),
    "off": (False, "answers at once"),
    "": (None, "thinks or doesn't, as it does by itself"),
}
# What a model without a projector doesn't do, and one that brings its own along.
_SEES = ("sees no pictures", "gemma3:4b")
_HEARS = ("hears no sound", "ggml-org/ultravox-v0_5-llama-3_2-1b-GGUF")
_FENCE = '"""'
_FAINT = ("\x1b[2m", "\x1b[0m")
_MARKED = ("(thinking) ", "")  # where nothing can be faint


@dataclass(frozen=True, slots=True)
class WholeAnswer:
    """An answer and its figures, as JSON tells them."""

    model: str
    text: str
    thoughts: str
    reason: str | None  # "stop", "length"
    n_prompt: int | None = None  # tokens, those from the cache included
    n_cached: int | None = None
    n_output: int | None = None
    prefill_tok_s: float | None = None
    decode_tok_s: float | None = None
    total_s: float | None = None


@dataclass(slots=True)
class ChatSession:
    """One conversation with one model. What was broken off is remembered as far as it came."""

    url: str
    model: str
    system: str | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    verbose: bool = False
    attachments: Sequence[Part] = ()  # pictures and sounds that come with the next question
    said: list[Message] = field(default_factory=list)
    shows_thoughts: bool = True

    def ask(self, question: str) -> None:
        """Writes the answer to stdout. Raises EdgellmError; KeyboardInterrupt on Ctrl-C."""
        self._say(question)
        begun_s, written = time.monotonic(), _AnswerWriter(self.shows_thoughts)
        waiting = Waiting(lambda: "waiting for the first word …")
        try:
            for piece in self._pieces(waiting.end):
                if piece.text or (piece.thought and self.shows_thoughts):
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

    def whole_answer(self, question: str) -> WholeAnswer:
        """Writes nothing. Raises as `ask` does."""
        self._say(question)
        begun_s, whole = time.monotonic(), Piece()
        with Waiting(lambda: "waiting for the answer …") as waiting:
            for piece in self._pieces(waiting.end):
                whole = Piece(
                    whole.text + piece.text,
                    whole.thought + piece.thought,
                    piece.reason or whole.reason,
                    timings=piece.timings or whole.timings,
                )
        return whole_answer_of(whole, self.model, time.monotonic() - begun_s)

    def think(self, thinks: bool | None) -> None:
        """From the next answer on. None: as the model does."""
        kept = {name: self.options[name] for name in self.options.keys() - thinking(True)}
        self.options = kept | thinking(thinks)

    def can_switch_thoughts(self) -> bool:
        """Also where nobody tells: then it may be asked for, and changes nothing."""
        return all(model.switches_thoughts is not False for model in self._as_told())

    def check_projector(self, lacks: str, example: str) -> None:
        """`lacks`: what a model doesn't do without one; `example`: one that does. Raises BadRequest
        where it is known to have none; where nobody tells, the server refuses what is shown."""
        if any(model.plan and not model.plan.projector for model in self._as_told()):
            raise BadRequest(
                f"{self.model} {lacks}: it is served without a projector",
                hint="/bye, then edgellm run MODEL --mmproj FILE, with the file made for this model"
                f", or a model that brings one along: edgellm run {example}",
            )

    def _as_told(self) -> tuple[ModelStatus, ...]:
        """The model as its server tells it; nothing where that can't be asked."""
        with contextlib.suppress(EdgellmError), Client(self.url) as client:
            found = servers_with(self.model, [(self.url, client.status())])
            return tuple(model for _, _, model in found)
        return ()

    def _say(self, question: str) -> None:
        shown, self.attachments = self.attachments, ()
        self.said.append(with_pictures(shown, question) if shown else Message("user", question))

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

    def show(self, parts: Sequence[Part]) -> None:
        """With the next question, after those that wait for it."""
        self.attachments = (*self.attachments, *parts)

    def forget(self) -> None:
        self.said.clear()
        self.attachments = ()


class _AnswerWriter:
    """What has been written. Thoughts are told apart on a terminal, and only told there; lines end
    between words there."""

    def __init__(self, shows_thoughts: bool) -> None:
        self.answer = ""
        self.timings: Timings | None = None
        self.reason: str | None = None
        self._is_terminal = sys.stdout.isatty()
        self._shows_thoughts = self._is_terminal and shows_thoughts
        self._wrap = WordWrap(columns)
        self._begin, self._end = _FAINT if has_style(sys.stdout) else _MARKED
        self._is_thinking = False

    def thought(self, text: str) -> None:
        if text and self._shows_thoughts:
            begin = "" if self._is_thinking else self._begin
            print(begin + self._wrap.feed(prose(text)), end="", flush=True)
            self._is_thinking = True

    def text(self, text: str) -> None:
        if text:
            if self._is_thinking:
                print(self._wrap.rest() + self._end + self._wrap.feed("\n\n"), end="")
                self._is_thinking = False
            print(self._wrap.feed(prose(text)) if self._is_terminal else text, end="", flush=True)
            self.answer += text

    def end(self) -> None:
        """Where nothing was written there is no line to end."""
        if self._is_thinking or self.answer:
            print(self._wrap.rest(), end=self._end if self._is_thinking else "")
            print(flush=True)


def converse(
    session: ChatSession, read: Callable[[str], str] = input, history: History | None = None
) -> None:
    """Until /bye or the end of the input. `read` is given a prompt and returns a line; what it
    returns is kept in `history`."""
    _edit_lines(history.lines() if history else ())
    if history:
        read = history.noting(read)
    say(f"{session.model} · /? for help, /bye to end")
    for question in _questions(read):
        word, _, rest = question.partition(" ")
        match word:
            case "/bye" | "/exit" | "/quit":
                return
            case "/?" | "/help":
                print(_HELP)
            case _ if _was_command(session, word, rest.strip()):
                pass
            case _ if word.startswith("/") and word[1:].isalpha():
                print(f"{word} is no command\n{_HELP}")
            case _:
                _answer(session, question)


def _was_command(session: ChatSession, word: str, rest: str) -> bool:
    """Whether it is one that changes what is asked or told; then it is done."""
    match word:
        case "/clear":
            session.forget()
            say("(what was said is forgotten)")
        case "/system":
            session.system = rest or None
            session.forget()
            say(_instructed(session.system))
        case "/think":
            _think(session, rest)
        case "/image" | "/audio" if not rest:
            say(f"({word} FILE: which file?)")
        case "/image":
            _show(session, image_parts, rest, *_SEES)
        case "/audio":
            _show(session, audio_parts, rest, *_HEARS)
        case "/verbose":
            session.verbose = not session.verbose
            say(f"(how long an answer took is {'' if session.verbose else 'no longer '}told)")
        case _:
            return False
    return True


def tell_if_thoughts_are_fixed(session: ChatSession) -> bool:
    """Whether the model can't be told to think or not to; then that is said, and it isn't asked."""
    if session.can_switch_thoughts():
        return False
    say(f"({session.model} can't be told whether to think)")
    session.think(None)
    return True


def whole_answer_of(whole: Piece, model: str, total_s: float) -> WholeAnswer:
    """`whole`: all pieces of the answer in one."""
    told = WholeAnswer(model, whole.text, whole.thought, whole.reason, total_s=total_s)
    if (timings := whole.timings) is None:
        return told
    return replace(
        told,
        n_prompt=timings.prompt_n + timings.cache_n,
        n_cached=timings.cache_n,
        n_output=timings.predicted_n,
        prefill_tok_s=timings.prompt_per_second,
        decode_tok_s=timings.predicted_per_second,
    )


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


def _think(session: ChatSession, word: str) -> None:
    if word not in _THINKS:
        say("(/think on, /think off, or /think alone: as the model does)")
        return
    thinks, told = _THINKS[word]
    if thinks is not None and tell_if_thoughts_are_fixed(session):
        return
    session.think(thinks)
    say(f"(the model {told})")


def _show(
    session: ChatSession,
    parts_of: Callable[[Sequence[str]], tuple[Part, ...]],
    path: str,
    lacks: str,
    example: str,
) -> None:
    try:
        session.check_projector(lacks, example)
        session.show(parts_of([path]))
    except EdgellmError as error:
        say_error(error)


def _answer(session: ChatSession, question: str) -> None:
    """A failed answer ends the answer, not the conversation."""
    try:
        session.ask(question)
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
