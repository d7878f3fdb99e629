"""How a model marks its thoughts, told by its chat template; and where a prompt leaves them."""

from dataclasses import dataclass

from edgellm.chat.events import ReasoningDelta, TextDelta
from edgellm.chat.source import Tell

SWITCHES = ("enable_thinking", "thinking")  # most templates know the first, some the second


@dataclass(frozen=True, slots=True)
class Style:
    """`anywhere`: thoughts may come between texts, too; else they only begin an answer.

    `sign`: what shows that a template is of this style; by default its end mark. `frame`: the marks
    around the text that follows thoughts.
    """

    start: str
    end: str
    anywhere: bool = False
    sign: str = ""
    frame: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class Thoughts:
    """How one answer's thoughts are recognised. Without a `start` there are none."""

    start: str = ""
    end: str = ""
    anywhere: bool = False
    opened: bool = False  # by the prompt: the answer begins inside
    text_begun: bool = False  # by the prompt: no word that comes is the answer's first
    tell: Tell = TextDelta
    frame: tuple[str, str] = ("", "")


_RESPONSE = ("<response>", "</response>")

# The first that is in a template. (llama.cpp finds them by comparing renderings:
# common/chat-diff-analyzer.cpp)
STYLES = (
    Style("<|channel|>analysis<|message|>", "<|end|>", sign="<|channel|>"),  # harmony
    Style("<|channel>thought", "<channel|>", anywhere=True),  # Gemma 4
    Style("<|START_THINKING|>", "<|END_THINKING|>", anywhere=True),  # Command R7B, A
    Style("[THINK]", "[/THINK]", anywhere=True),  # Magistral, Ministral 3
    Style(
        "<|think|>",
        "<|end|>",
        sign="<|begin|>assistant<|think|>",
        frame=("<|begin|>assistant<|content|>", "<|end|>"),
    ),  # Solar Open
    Style(
        "<|open|>think<|sep|>",
        "<|close|>think<|sep|>",
        sign="<|end_of_msg|>",
        frame=("<|open|>response<|sep|>", "<|close|>response<|sep|>"),
    ),  # Kimi K3
    Style("<|inner_prefix|>", "<|inner_suffix|>"),  # Apertus
    Style("<seed:think>", "</seed:think>"),
    Style("<mm:think>", "</mm:think>"),  # MiniMax M3
    Style("<think:opensource>", "</think:opensource>", sign="'</think{}>'"),  # Hy3
    Style("<thought>", "</thought>"),  # EXAONE Deep
    Style(
        "Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]", frame=("", "[END FINAL RESPONSE]")
    ),  # Apriel
    Style("<think>", "</think>", sign="between <response></response>", frame=_RESPONSE),  # Granite
    Style("<think>", "</think>", sign=r"<response>\n", frame=_RESPONSE),  # ERNIE 4.5 Thinking
    Style("<think>", "</think>"),  # Qwen, DeepSeek, GLM, Kimi, Nemotron ...
)


def style_of(source: str) -> Style | None:
    """Of a chat template's source."""
    return next((style for style in STYLES if (style.sign or style.end) in source), None)


def is_opened(style: Style, prompt: str) -> bool:
    """Whether the prompt ends inside thoughts."""
    return prompt.rstrip().endswith(style.start)


def is_ended(style: Style, prompt: str) -> bool:
    """Whether the prompt says that there shall be none."""
    return prompt.rstrip().endswith(style.end)


def thoughts_of(
    style: Style | None, *, opened: bool, apart: bool, text_begun: bool = False
) -> Thoughts:
    """`apart`: thoughts are told as such; else they are text like any other, marks included."""
    if style is None or not apart:
        return Thoughts(text_begun=text_begun)
    start, end, anywhere = style.start, style.end, style.anywhere
    return Thoughts(start, end, anywhere, opened, text_begun, ReasoningDelta, style.frame)
