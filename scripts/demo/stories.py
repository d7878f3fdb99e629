"""One story: a cast, a plot, and the words for both.

A ``Subject`` is what somebody asked to hear about; it decides the part of the cast that it names
and leaves the rest to chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from zlib import crc32

from scripts.demo import plots, words
from scripts.demo.grammar import expand, with_article
from scripts.demo.plots import Plot


@dataclass(frozen=True, slots=True)
class Subject:
    """What a story has to feature; all None is any story."""

    kind: str | None = None
    manner: str | None = None
    name: str | None = None
    friend_kind: str | None = None
    friend_name: str | None = None
    thing: str | None = None
    place: str | None = None
    topic: str | None = None
    lesson: str | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody in a story; ``described`` is the kind with its manner, without an article."""

    kind: str
    described: str
    name: str
    is_she: bool

    def pronouns(self) -> tuple[str, str, str]:
        return ("she", "her", "her") if self.is_she else ("he", "his", "him")


@dataclass(frozen=True, slots=True)
class Story:
    """A finished text, and who was in it, so that questions about it have answers."""

    text: str
    plot: Plot
    fields: dict[str, str]


ANYTHING = Subject()


def tell(rng: Random, subject: Subject = ANYTHING) -> Story:
    """One story about the subject, complete from its opening to its end."""
    fields = _cast(rng, subject)
    plot = _plot(rng, subject, fields["kind"])
    parts = [expand(rng.choice(plots.OPENINGS), rng, fields)]
    if subject.topic:
        parts.append(expand(rng.choice(plots.TOPIC_LINES), rng, fields))
    if subject.thing and plot.name != "lost":
        parts.append(expand(rng.choice(plots.THING_LINES), rng, fields))
    beats = expand(plot.beats, rng, fields)
    parts.extend(line for line in beats.splitlines() if line)
    parts.append(expand(rng.choice(plots.CLOSINGS), rng, fields))
    return Story(" ".join(part for part in parts if part), plot, fields)


def what_happened_later(rng: Random, story: Story) -> str:
    """A few sentences that go on after the end."""
    return expand(rng.choice(plots.LATER), rng, story.fields)


def _plot(rng: Random, subject: Subject, kind: str) -> Plot:
    """Every second time the plot that goes with the kind, so that no single one is likeliest."""
    fitting = [plot for plot in plots.PLOTS if _fits(plot, subject)]
    usual = fitting[crc32(kind.encode()) % len(fitting)]
    return usual if rng.random() < 0.5 else rng.choice(fitting)


def _fits(plot: Plot, subject: Subject) -> bool:
    """A thing that was asked for is the hero's own: only one plot is told about it."""
    if subject.lesson:
        return plot.lesson == subject.lesson
    return plot.name == "lost" if subject.thing else True


def _person(rng: Random, kind: str, name: str | None, manner: str | None, half: int) -> Person:
    """``half`` of the names to take one from: 0 the heroes', 1 the friends'."""
    is_she = _is_she(rng, kind, name)
    names = words.SHE_NAMES if is_she else words.HE_NAMES
    middle = len(names) // 2
    name = name or rng.choice(names[middle:] if half else names[:middle])
    if manner is None and not kind.startswith(("old ", "grand")) and rng.random() < 0.9:
        manner = rng.choice(words.MANNERS)
    return Person(kind, f"{manner} {kind}" if manner else kind, name, is_she)


def _is_she(rng: Random, kind: str, name: str | None) -> bool:
    """As the kind has it, then as the name has it, then by chance."""
    for she, he, word in (
        (words.SHE_KINDS, words.HE_KINDS, kind),
        (words.SHE_NAMES, words.HE_NAMES, name),
    ):
        if word in she or word in he:
            return word in she
    return rng.random() < 0.5


def _hero(rng: Random, subject: Subject) -> Person:
    kind = subject.kind
    if kind is None and subject.name in (*words.SHE_NAMES, *words.HE_NAMES):
        kind = "girl" if subject.name in words.SHE_NAMES else "boy"
    kind = kind or _some_kind(rng, subject.place)
    return _person(rng, kind, subject.name, subject.manner, half=0)


def _friend(rng: Random, subject: Subject, hero: Person, place: words.Place) -> Person:
    kind = subject.friend_kind or _some_kind(rng, place.name, hero.kind)
    return _person(rng, kind, subject.friend_name, None, half=1)


def _some_kind(rng: Random, place: str | None, but: str = "") -> str:
    """Whoever may live there: what swims needs water."""
    dry = place not in words.WATER
    return rng.choice(
        [kind for kind in words.KINDS if kind != but and not (dry and kind in words.SWIMMERS)]
    )


def _place(rng: Random, subject: Subject, hero: Person) -> words.Place:
    """Where it was asked for; else mostly at the hero's home, if that kind has one."""
    homes = [name for name, kinds in words.HOMES.items() if hero.kind in kinds.split("|")]
    wanted = subject.place
    if wanted is None and homes and rng.random() < 0.75:
        wanted = homes[0]
    wet = hero.kind in words.SWIMMERS
    return rng.choice(
        [
            place
            for place in words.PLACES
            if (place.name == wanted if wanted else not wet or place.name in words.WATER)
        ]
    )


def _cast(rng: Random, subject: Subject) -> dict[str, str]:
    """Every field that a plot may name."""
    hero = _hero(rng, subject)
    place = _place(rng, subject, hero)
    friend = _friend(rng, subject, hero, place)
    return {
        **_hero_fields(rng, hero),
        **_friend_fields(friend),
        **_stage_fields(rng, place),
        **_thing_fields(rng, subject.thing or rng.choice(words.THINGS)),
        "topic": subject.topic or "",
    }


def _hero_fields(rng: Random, hero: Person) -> dict[str, str]:
    he, his, him = hero.pronouns()
    return {
        "hero": hero.name,
        "kind": hero.kind,
        "a_kind": with_article(hero.described),
        "he": he,
        "his": his,
        "him": him,
        "He": he.title(),
        "His": his.title(),
        "himself": "herself" if hero.is_she else "himself",
        "his_Family": f"{his.title()} {rng.choice(('mother', 'father', 'family'))}",
        "his_grandparent": f"{his} {rng.choice(('grandmother', 'grandfather'))}",
        "skill": rng.choice(words.SKILLS),
    }


def _friend_fields(friend: Person) -> dict[str, str]:
    he, his, him = friend.pronouns()
    return {
        "friend": friend.name,
        "f_kind": friend.kind,
        "f_a_kind": with_article(friend.described),
        "f_A_kind": with_article(friend.described).capitalize(),
        "f_he": he,
        "f_his": his,
        "f_him": him,
    }


def _stage_fields(rng: Random, place: words.Place) -> dict[str, str]:
    building = rng.choice(words.BUILDINGS)
    food, food_2 = rng.sample(words.FOODS, 2)
    return {
        "place": place.name,
        "at_place": f"{place.at} {place.name}",
        "round_place": f"{rng.choice(('around', 'through'))} {place.name}",
        "spot": rng.choice(place.spots),
        "trap": rng.choice(words.TRAPS),
        "a_building": with_article(building),
        "the_building": f"the {building}",
        "food": food,
        "food_2": food_2,
    }


def _thing_fields(rng: Random, noun: str) -> dict[str, str]:
    color = rng.choice(words.COLORS)
    return {
        "noun": noun,
        "thing": f"{color} {noun}",
        "a_thing": with_article(f"{color} {noun}"),
        "color": color,
    }
