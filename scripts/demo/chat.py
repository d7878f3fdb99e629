"""Conversations: what people type at a small model, and what this one may honestly answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from scripts.demo import lines, words
from scripts.demo.grammar import expand, with_article
from scripts.demo.stories import Story, Subject, tell, what_happened_later


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation."""

    role: str
    text: str


Exchange = tuple[str, str]  # what the user says, what the assistant answers


def conversation(rng: Random, n_exchanges: int) -> tuple[Turn, ...]:
    """Some exchanges one after another, sometimes under a system prompt."""
    turns: list[Turn] = []
    if rng.random() < 0.35:
        turns.append(Turn("system", _system_prompt(rng)))
    story: Story | None = None
    offered = False
    for _ in range(n_exchanges):
        (said, answered), told, offered = _exchange(rng, story, offered)
        story = told or story
        turns += [Turn("user", _as_typed(rng, said)), Turn("assistant", answered)]
    return tuple(turns)


def _exchange(
    rng: Random, story: Story | None, offered: bool
) -> tuple[Exchange, Story | None, bool]:
    """One exchange, the story told in it, and whether it ended by offering a story."""
    if offered and rng.random() < 0.4:
        if rng.random() < 0.2:
            return (expand(lines.NO, rng), expand(lines.NO_ANSWER, rng)), None, False
        told = tell(rng)
        return (expand(lines.YES, rng), told.text), told, False
    if story and rng.random() < 0.35:
        return _about_story(rng, story), None, False
    draw = rng.random()
    if draw < 0.55:
        asked, told = _asked_story(rng)
        return (asked, told.text), told, False
    if draw < 0.82:
        topic = lines.GREETING if draw < 0.63 else rng.choice(lines.SMALL_TALK)
        return (expand(topic.said, rng), expand(topic.answered, rng)), None, topic.offers
    return (_unknown(rng), expand(lines.UNKNOWN_ANSWER, rng)), None, True


def _asked_story(rng: Random) -> tuple[str, Story]:
    """A request, and the story that answers it."""
    if rng.random() < 0.18:
        return expand(lines.ANY_STORY, rng), tell(rng)
    phrase, subject = _subject(rng)
    return expand(lines.STORY_ABOUT, rng, {"subject": phrase}), tell(rng, subject)


def _subject(rng: Random) -> tuple[str, Subject]:
    """A phrase for what the story is to be about, and what the phrase asks of the cast."""
    kind = any_kind(rng)
    draw = rng.random()
    if draw < 0.50:
        if rng.random() < 0.15:
            manner = rng.choice(words.MANNERS)
            return with_article(f"{manner} {kind}"), Subject(kind=kind, manner=manner)
        return with_article(kind), Subject(kind=kind)
    if draw < 0.60:
        name = any_name(rng)
        return expand(f"{with_article(kind)} [named|called] {name}", rng), Subject(kind, name=name)
    if draw < 0.70:
        other = any_kind(rng)
        return f"{with_article(kind)} and {with_article(other)}", Subject(kind, friend_kind=other)
    if draw < 0.75:
        name, other_name = rng.sample((*words.HE_NAMES, *words.SHE_NAMES), 2)
        both = Subject(name=name, friend_name=other_name)
        return (
            (name, Subject(name=name)) if rng.random() < 0.6 else (f"{name} and {other_name}", both)
        )
    if draw < 0.81:
        place = rng.choice(words.PLACES)
        if rng.random() < 0.5:
            return f"{with_article(kind)} {place.at} {place.name}", Subject(kind, place=place.name)
        return place.name, Subject(place=place.name)
    if draw < 0.87:
        noun = rng.choice(words.THINGS)
        return with_article(noun), Subject(thing=noun)
    if draw < 0.92:
        known = rng.choice((*words.ANIMALS, *words.BEINGS))
        return words.PLURALS.get(known, f"{known}s"), Subject(kind=known)
    topic = rng.choice(words.TOPICS) if rng.random() < 0.8 else invented_word(rng)
    lesson = topic if topic in lines.LESSONS else None
    return topic, Subject(topic=topic, lesson=lesson)


def any_kind(rng: Random) -> str:
    """Mostly one of the world's own, sometimes a word nobody has heard: subjects are copied."""
    return invented_word(rng) if rng.random() < 0.25 else rng.choice(words.KINDS)


def any_name(rng: Random) -> str:
    if rng.random() < 0.3:
        return invented_word(rng).capitalize()
    return rng.choice((*words.HE_NAMES, *words.SHE_NAMES))


def invented_word(rng: Random) -> str:
    """A pronounceable word of one to three syllables."""
    syllables = (
        rng.choice(lines.ONSETS) + rng.choice(lines.VOWELS) for _ in range(rng.randint(1, 3))
    )
    return "".join(syllables) + rng.choice(lines.CODAS)


def _about_story(rng: Random, story: Story) -> Exchange:
    """A question about the story that was told last, or for more of it."""
    draw = rng.random()
    fields = story.fields
    if draw < 0.4:
        return expand(lines.GO_ON, rng, fields), what_happened_later(rng, story)
    if draw < 0.6:
        return expand(lines.WHO, rng, fields), expand(lines.WHO_ANSWER, rng, fields)
    if draw < 0.75:
        return expand(lines.WHERE, rng, fields), expand(lines.WHERE_ANSWER, rng, fields)
    if draw < 0.85 and story.plot.friend_helps:
        return expand(lines.HELPED, rng, fields), expand(lines.HELPED_ANSWER, rng, fields)
    return expand(lines.PRAISE, rng), expand(lines.PRAISE_ANSWER, rng)


def _unknown(rng: Random) -> str:
    numbers = {"n": str(rng.randint(1, 120)), "m": str(rng.randint(1, 120))}
    draw = rng.random()
    if draw < 0.75:
        fields = {**numbers, "word": rng.choice(lines.OTHER_WORDS), "new": invented_word(rng)}
        return expand(rng.choice(lines.UNKNOWN), rng, fields)
    if draw < 0.9:
        return rng.choice(lines.OTHER_SCRIPTS)
    return " ".join(invented_word(rng) for _ in range(rng.randint(1, 9)))


def _system_prompt(rng: Random) -> str:
    n_sentences = rng.choice((1, 1, 1, 2, 3, 8, 20))
    return " ".join(_sentences(rng, lines.SYSTEM, n_sentences))


def _sentences(rng: Random, templates: Sequence[str], count: int) -> list[str]:
    return [expand(rng.choice(templates), rng) for _ in range(count)]


def _as_typed(rng: Random, text: str) -> str:
    """The text as hurried fingers leave it: case, punctuation and blanks vary."""
    draw = rng.random()
    if draw < 0.18:
        text = text.lower()
    elif draw < 0.23:
        text = text.upper()
    elif draw < 0.28:
        text = text.title()
    draw = rng.random()
    if draw < 0.2:
        text = text.rstrip(".!?")
    elif draw < 0.27:
        text = text.rstrip(".!?") + rng.choice(("!!", "...", "??", " :)", "!", " please", " "))
    if rng.random() < 0.04 and len(text) > 4:
        at = rng.randrange(len(text) - 1)
        text = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return text
