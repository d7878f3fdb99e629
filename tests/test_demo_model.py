"""The model that edgellm ships does what its card says: greet, tell stories, stop, fit.

The file is read and its template rendered by edgellm's own code; llama_cpp only continues text.
"""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest

from edgellm.chat.messages import Message
from edgellm.chat.templating.template import ChatTemplate
from edgellm.models.gguf.values import NumberArray
from edgellm.models.local import read_header, read_spec
from scripts.demo import chat, corpus, stories, tokenizer
from scripts.demo.tokenizer import FIRST_PIECE, Vocabulary

DEMO = Path(__file__).parents[1] / "edgellm" / "demo"
FILE = DEMO / "demo.gguf"
FOREIGN_TEXTS = (
    "",
    " ",
    "  two  blanks ",
    "Zażółć gęślą jaźń",
    "Привет, как дела?",
    "你好世界",
    "👋🏽 family: 👨‍👩‍👧",
    "tab\tnewline\n\nCR\r",
    "▁ is our blank",
    "<s> </s> <unk> <0x41> <|im_start|>",
    "e\u0301 and \u200b and \ufeff",
    "def f(x):\n    return x ** 2  # why?",
    "aaaaaaaaaaaaaaaa....!!!!",
)


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    tokens = read_header(FILE).tokens
    assert tokens is not None
    return Vocabulary(tuple(islice(tokens, FIRST_PIECE, None)))


@pytest.fixture(scope="module")
def llama() -> Iterator[Any]:
    import llama_cpp

    model = llama_cpp.Llama(
        str(FILE), n_ctx=1024, n_batch=256, n_threads=1, n_threads_batch=1, verbose=False
    )
    yield model
    model.close()


def answer(llama: Any, *said: str, system: str | None = None) -> tuple[str, str]:
    """The last of a conversation's answers, and how it ended."""
    template = ChatTemplate(read_header(FILE).chat_template)
    messages = [Message("system", system)] if system else []
    text, reason = "", ""
    for words in said:
        messages.append(Message("user", words))
        text, reason = continued(llama, template.render(messages))
        messages.append(Message("assistant", text))
    return text, reason


def continued(llama: Any, prompt: str) -> tuple[str, str]:
    done = llama.create_completion(prompt, max_tokens=320, temperature=0.0)["choices"][0]
    return done["text"], done["finish_reason"]


def test_the_file_is_small_and_the_one_that_its_card_describes() -> None:
    file = FILE.read_bytes()
    card = (DEMO / "README.md").read_text(encoding="utf-8")
    assert len(file) <= 4_000_000
    assert hashlib.sha256(file).hexdigest() in card
    assert f"{len(file):,} bytes" in card


def test_the_file_says_what_it_is() -> None:
    header, spec = read_header(FILE), read_spec(FILE)
    assert header.text("general.name") == "edgellm demo"
    assert header.license == "mit"
    assert header.chat_template == corpus.CHAT_TEMPLATE
    assert spec.architecture == "llama"


def test_every_earlier_piece_scores_higher_and_byte_tokens_are_complete(
    vocabulary: Vocabulary,
) -> None:
    header = read_header(FILE)
    scores = header.metadata["tokenizer.ggml.scores"]
    assert isinstance(scores, NumberArray)
    assert list(scores)[FIRST_PIECE:] == [-float(rank) for rank in range(len(vocabulary.pieces))]
    assert list(header.tokens or ()) == vocabulary.texts()


def test_one_seed_gives_one_corpus(vocabulary: Vocabulary) -> None:
    def first(seed: int) -> list[corpus.Document]:
        return list(islice(corpus.documents(seed, vocabulary), 20))

    assert first(7) == first(7)
    assert first(7) != first(8)


def test_every_story_has_a_hero_a_friend_and_no_unfilled_field() -> None:
    rng = Random(3)
    for _ in range(500):
        story = stories.tell(rng)
        assert story.fields["hero"] in story.text
        assert story.fields["friend"] in story.text
        assert not set("[]{}|\n") & set(story.text), story.text
        assert 60 <= len(story.text.split()) <= 190


def test_a_story_about_a_subject_features_it() -> None:
    rng = Random(4)
    for _ in range(300):
        kind = chat.any_kind(rng)
        assert f" {kind} " in stories.tell(rng, stories.Subject(kind=kind)).text
        assert " kite" in stories.tell(rng, stories.Subject(thing="kite")).text


def test_roles_alternate_and_the_assistant_has_the_last_word() -> None:
    rng = Random(5)
    for _ in range(200):
        roles = [turn.role for turn in chat.conversation(rng, 3)]
        assert roles[-6:] == ["user", "assistant"] * 3


def test_a_vocabulary_can_be_trained_anew() -> None:
    small = tokenizer.train(corpus.said(1, 40), 420)
    assert len(small) == 420
    assert len(small.encode("Once upon a time")) < len("Once upon a time")


@pytest.mark.model
def test_llama_cpp_and_the_generator_agree_on_every_token(
    llama: Any, vocabulary: Vocabulary
) -> None:
    rng = Random(6)
    texts = [stories.tell(rng).text for _ in range(30)]
    texts += [turn.text for _ in range(60) for turn in chat.conversation(rng, 2)]
    for text in (*texts, *FOREIGN_TEXTS):
        by_llama: Sequence[int] = llama.tokenize(text.encode(), add_bos=False, special=False)
        assert by_llama == vocabulary.encode(text), text
        assert llama.detokenize(by_llama).decode() == text.replace(tokenizer.BLANK, " ")


@pytest.mark.model
def test_a_rendered_conversation_is_the_token_stream_of_the_training(
    llama: Any, vocabulary: Vocabulary
) -> None:
    turns = chat.conversation(Random(9), 2)
    prompt = ChatTemplate(read_header(FILE).chat_template).render(
        [Message(turn.role, turn.text) for turn in turns]  # type: ignore[arg-type]
    )
    by_llama = llama.tokenize(prompt.encode(), add_bos=True, special=True)
    assert by_llama == [tokenizer.BOS, *vocabulary.encode_chat(prompt)]
    assert by_llama.count(tokenizer.BOS) == 1


@pytest.mark.model
@pytest.mark.parametrize("said", ["Hello", "hi!", "Who are you?", "good morning"])
def test_a_greeting_is_answered_by_a_demo(llama: Any, said: str) -> None:
    text, reason = answer(llama, said)
    assert "demo" in text
    assert "edgellm" in text
    assert reason == "stop"


@pytest.mark.model
@pytest.mark.parametrize("subject", ["fox", "robot", "princess", "dragon", "turtle"])
def test_a_story_is_about_what_was_asked_and_ends_by_itself(llama: Any, subject: str) -> None:
    text, reason = answer(llama, f"Tell me a story about a {subject}.")
    assert subject in text
    assert 50 < len(text.split()) < 200
    assert reason == "stop"


@pytest.mark.model
def test_once_upon_a_time_goes_on_and_ends(llama: Any) -> None:
    text, reason = continued(llama, "Once upon a time")
    assert 50 < len(text.split()) < 200
    assert reason == "stop"


@pytest.mark.model
def test_what_it_cannot_know_it_does_not_answer(llama: Any) -> None:
    text, _ = answer(llama, "What is the capital of France?")
    assert "demo model" in text
    assert "story" in text


@pytest.mark.model
def test_a_system_prompt_and_earlier_turns_do_not_derail_it(llama: Any) -> None:
    said = ("hello", "tell me a story about a turtle")
    text, reason = answer(llama, *said, system="You are a helpful assistant.")
    assert "turtle" in text
    assert reason == "stop"
