"""`edgellm run MODEL ["prompt"]`: one answer, or a conversation."""

import contextlib
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, ClassVar

import typer

from edgellm.cli.flags import options
from edgellm.cli.flags.drafting import Drafting
from edgellm.cli.flags.model_options import ModelOptions
from edgellm.cli.flags.pins import Pins
from edgellm.cli.flags.seeing import Seeing
from edgellm.values import frozen

_WRITTEN = "How it is written"


@frozen(kw_only=True)
class Wording:
    """How an answer is written: fields of OpenAI's API, by their names there."""

    temperature: Annotated[
        float | None,
        typer.Option(help="0 always takes the likeliest word.", metavar="T", min=0, max=2),
    ] = None
    top_p: Annotated[
        float | None,
        typer.Option(
            "--top-p",
            help="The likeliest words that are so likely.",
            metavar="P",
            min=0,
            max=1,
            rich_help_panel=_WRITTEN,
        ),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(help="The same answer again.", metavar="N", rich_help_panel=_WRITTEN),
    ] = None
    max_tokens: Annotated[
        int | None,
        typer.Option(
            help="The most that one answer takes.", metavar="N", min=1, rich_help_panel=_WRITTEN
        ),
    ] = None
    think: Annotated[
        bool | None,
        typer.Option(
            "--think/--no-think",
            help="Think first, or answer at once.",
            show_default=False,
        ),
    ] = None

    def given(self) -> dict[str, object]:
        from edgellm.tui.told.questions import thinking

        given = {name: value for name, value in asdict(self).items() if value is not None}
        return given | thinking(given.pop("think", None))


@frozen(kw_only=True)
class Showing:
    """Of an answer and of a conversation."""

    HEADINGS: ClassVar = {"hide_thoughts": "What is shown"}

    hide_thoughts: Annotated[
        bool, typer.Option("--hide-thoughts", help="Don't show what is thought first.")
    ] = False
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Tell how long it took, on stderr.")
    ] = False
    no_history: Annotated[
        bool, typer.Option("--no-history", help="Don't keep what is typed for the next time.")
    ] = False


def run(
    model: options.ModelArgument,
    wording: Wording,
    pins: Pins,
    seeing: Seeing,
    drafting: Drafting,
    showing: Showing,
    prompt: Annotated[
        list[str] | None,
        typer.Argument(metavar="PROMPT", help="One question; without it, a conversation."),
    ] = None,
    image: Annotated[
        list[str] | None,
        typer.Option("--image", help="A picture to ask about; repeatable.", metavar="FILE"),
    ] = None,
    audio: Annotated[
        list[str] | None,
        typer.Option(
            "--audio",
            help="A sound to ask about; repeatable.",
            metavar="FILE",
            rich_help_panel="Pictures and sound",
        ),
    ] = None,
    system: Annotated[
        str | None, typer.Option(help="What the model is told before everything.", metavar="TEXT")
    ] = None,
    host: options.Host = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="The answer and its figures, when it is whole.")
    ] = False,
    offline: options.Offline = False,
) -> None:
    """Ask a model a question, or talk with it.

    A server that has the model answers, else it is loaded. What is piped in goes with the question.
    In a conversation /? shows more, /bye ends it.

    \b
      edgellm run demo
      edgellm run qwen3:8b "Why is the sky blue?"
      edgellm run gemma3:4b --image photo.jpg "What is on it?"
      git diff | edgellm run qwen3:8b "Write a commit message for this:"
    """
    from edgellm.cli.attachments import audio_parts, image_parts
    from edgellm.cli.conversation import ChatSession, converse, tell_if_thoughts_are_fixed
    from edgellm.cli.history import users_history
    from edgellm.cli.output import is_terminal, print_json
    from edgellm.cli.serving.private import server_with
    from edgellm.errors import BadRequest

    question = _question(prompt or ())
    pictures = (*image_parts(image or ()), *audio_parts(audio or ()))
    if as_json and question is None:
        raise BadRequest("--json is for one question", hint='edgellm run MODEL --json "a question"')
    draft = drafting.named(pins)
    config = options.config_from(offline=offline, reserve=pins.reserve, draft=draft)
    pins.goal(config.reserve)  # what can't be is told before anything is looked for
    model_options = ModelOptions(pins=pins, drafting=drafting, seeing=seeing)
    flags = (*pins.given(), *seeing.given(), *drafting.given())
    with server_with(model, config, model_options, flags=flags, host=host) as (url, name):
        session = ChatSession(
            url, name, system, wording.given(), showing.verbose, pictures,
            shows_thoughts=not showing.hide_thoughts,
        )  # fmt: skip
        if wording.think is not None:
            tell_if_thoughts_are_fixed(session)
        if as_json and question is not None:
            print_json(session.whole_answer(question))
        elif question is not None:
            session.ask(question)
        else:
            keeps = config.history and not showing.no_history and is_terminal()
            converse(session, history=users_history() if keeps else None)


def _question(words: Sequence[str]) -> str | None:
    """The arguments and, before or after them, what was piped in. None: nobody asked yet."""
    from edgellm.errors import BadRequest

    spoken = _text_of(os.fsencode(" ".join(words))).strip()
    piped = "" if sys.stdin.isatty() else _text_of(sys.stdin.buffer.read()).strip()
    both = "\n\n".join(part for part in (spoken, piped) if part)
    if both:
        return both
    if words or not sys.stdin.isatty():
        raise BadRequest("the prompt is empty", hint='edgellm run MODEL "a question"')
    return None


def _text_of(data: bytes) -> str:
    """UTF-8, else what the terminal speaks; what is neither is asked as "�", and that is told."""
    from edgellm.cli.output import say

    for encoding in ("utf-8", sys.stdin.encoding):
        with contextlib.suppress(UnicodeDecodeError, LookupError):
            return data.decode(encoding)
    text = data.decode(errors="replace")
    say("not all of the question is UTF-8: what isn't is asked as \ufffd (iconv turns files)")
    return text
