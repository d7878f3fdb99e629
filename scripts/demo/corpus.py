"""The endless text that the demo model is trained on, and which of its tokens are to be learned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from scripts.demo import lines, words
from scripts.demo.chat import Turn, conversation
from scripts.demo.grammar import expand
from scripts.demo.stories import tell
from scripts.demo.tokenizer import BOS, EOS, FIRST_PIECE, Vocabulary

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_PLAIN_RATIO = 0.3

Document = tuple[list[int], list[bool]]  # ids, and for each whether the model has to predict it


@dataclass(frozen=True, slots=True)
class Row:
    """Tokens of one training row; ``documents`` tells which belong together."""

    ids: list[int]
    learned: list[bool]
    documents: list[int]


def said(seed: int, count: int) -> Iterator[str]:
    """What the model has to say, for the tokenizer: its own words deserve tokens of their own."""
    rng = Random(f"vocabulary {seed}")
    for _ in range(count):
        yield tell(rng).text
        yield expand(rng.choice(lines.SMALL_TALK).answered, rng)
        yield " " + " ".join(rng.sample((*words.KINDS, *words.THINGS), 10))


def documents(seed: int, vocabulary: Vocabulary) -> Iterator[Document]:
    """Plain stories and conversations without end."""
    rng = Random(f"corpus {seed}")
    while True:
        if rng.random() < _PLAIN_RATIO:
            ids = [BOS, *vocabulary.encode(tell(rng).text), EOS]
            yield ids, [False] + [True] * (len(ids) - 1)
        else:
            yield _chat_document(conversation(rng, _n_exchanges(rng)), vocabulary)


def _n_exchanges(rng: Random) -> int:
    return rng.choice((1, 1, 1, 2, 2, 3, 4, rng.randint(4, 12)))


def _chat_document(turns: tuple[Turn, ...], vocabulary: Vocabulary) -> Document:
    """As the chat template writes it; learned is what the assistant says, with its end."""
    ids, learned = [BOS], [False]
    for turn in turns:
        is_ours = turn.role == "assistant"
        for text, learn in (
            (f"<|im_start|>{turn.role}\n", False),
            (f"{turn.text}<|im_end|>", is_ours),
            ("\n", False),
        ):
            new = vocabulary.encode_chat(text)
            ids += new
            learned += [learn] * len(new)
    return ids, learned


def rows(docs: Iterator[Document], n_tokens: int) -> Iterator[Row]:
    """Documents end to end in rows of equal length; every row begins with a document."""
    while True:
        row = Row([], [], [])
        for number, (ids, learned) in enumerate(docs):
            row.ids.extend(ids)
            row.learned.extend(learned)
            row.documents.extend([number] * len(ids))
            if len(row.ids) >= n_tokens:
                break
        yield Row(row.ids[:n_tokens], row.learned[:n_tokens], row.documents[:n_tokens])


def copying(seed: int, n_vocab: int) -> Iterator[Document]:
    """Random tokens, then the same again: practice in nothing but looking back."""
    rng = Random(f"copying {seed}")
    while True:
        once = [rng.randrange(FIRST_PIECE, n_vocab) for _ in range(rng.randint(4, 40))]
        yield [BOS, *once, *once], [False] * (len(once) + 2) + [True] * (len(once) - 1)
