"""Who and what the stories are about: the closed word lists of the demo model's world."""

from __future__ import annotations

from dataclasses import dataclass

from scripts.demo.grammar import phrases, words


@dataclass(frozen=True, slots=True)
class Place:
    """Somewhere to live, and where a thing can lie unseen there."""

    name: str
    at: str
    spots: tuple[str, ...]


PLACES = (
    Place("the forest", "in", ("under a fern", "behind an old oak", "in a hollow log")),
    Place("the meadow", "in", ("in the tall grass", "under a daisy", "beside a flat stone")),
    Place("the village", "in", ("behind the well", "under a bench", "on the steps of the mill")),
    Place("the garden", "in", ("under the rose bush", "behind the shed", "beside the gate")),
    Place("the sea", "by", ("under a big shell", "behind a rock", "in a pool between the rocks")),
    Place("the farm", "on", ("in the hay", "behind the barn", "under the old cart")),
    Place("the river", "by", ("under the bridge", "in the reeds", "behind a willow")),
    Place("the hill", "on", ("behind a bush", "under a pine tree", "beside the path")),
    Place("the castle", "in", ("under the stairs", "behind a curtain", "on top of the tower")),
    Place("the lake", "near", ("under a little boat", "in the reeds", "behind a log")),
    Place("the mountains", "in", ("behind a gray rock", "in a small cave", "beside a stream")),
    Place("the town", "in", ("next to the fountain", "under a bench", "behind the bakery")),
    Place("the jungle", "in", ("under a huge leaf", "behind a waterfall", "in a hollow tree")),
    Place("the desert", "in", ("behind a cactus", "under a warm stone", "beside the old well")),
    Place("the moon", "on", ("behind a gray rock", "in a round hole", "under the silver dust")),
    Place("the island", "on", ("under a palm tree", "behind a rock", "in the white sand")),
)
WATER = ("the sea", "the river", "the lake")

ANIMALS = words(
    "fox dog cat rabbit bear owl mouse frog turtle duck hedgehog squirrel deer wolf badger beaver "
    "otter hen pig cow sheep goat horse donkey lion tiger elephant monkey giraffe penguin bird "
    "puppy kitten bee ant butterfly snail crow parrot swan lamb pony camel panda koala zebra "
    "dinosaur crocodile snake bat goose eagle hamster kangaroo"
)
SWIMMERS = words("fish whale dolphin seal crab octopus shark mermaid")
BEINGS = words(
    "dragon unicorn robot monster ghost snowman star cloud train giant fairy knight wizard pirate "
    "farmer baker child sailor teacher gardener painter doctor astronaut elf troll alien ninja "
    "tree car truck teapot computer"
)
SHE_KINDS = ("girl", "princess", "queen", "witch", "old woman", "grandmother")
HE_KINDS = ("boy", "prince", "king", "old man", "grandfather")
HOMES = {
    "the forest": "fox|bear|owl|mouse|hedgehog|squirrel|deer|wolf|badger|elf|troll|tree|bird",
    "the farm": "hen|pig|cow|sheep|goat|horse|donkey|pony|lamb|goose|farmer|puppy",
    "the garden": "bee|butterfly|snail|ant|gardener|rabbit|hamster|fairy",
    "the jungle": "tiger|elephant|monkey|parrot|snake|panda|koala|crocodile",
    "the desert": "camel|lion|zebra|giraffe|kangaroo",
    "the river": "otter|beaver|frog",
    "the lake": "swan|duck|turtle|fish",
    "the sea": "whale|dolphin|seal|crab|octopus|shark|mermaid|sailor|pirate|penguin",
    "the castle": "dragon|knight|king|queen|prince|princess|ghost|bat|witch|wizard",
    "the moon": "star|alien|astronaut|robot",
    "the mountains": "eagle|giant|unicorn|snowman|cloud",
    "the village": "baker|old man|old woman|grandmother|grandfather|painter|dog|cat",
    "the town": "car|train|truck|computer|doctor|teacher|teapot",
    "the island": "monster|dinosaur|ninja",
}
KINDS = (*ANIMALS, *SWIMMERS, *BEINGS, *SHE_KINDS, *HE_KINDS)
PLURALS = {
    "fox": "foxes",
    "mouse": "mice",
    "wolf": "wolves",
    "sheep": "sheep",
    "puppy": "puppies",
    "deer": "deer",
    "goose": "geese",
    "fish": "fish",
    "elf": "elves",
    "fairy": "fairies",
    "witch": "witches",
    "princess": "princesses",
    "octopus": "octopuses",
    "butterfly": "butterflies",
    "pony": "ponies",
    "child": "children",
}
MANNERS = words("little small young kind shy brave happy curious quiet clever gentle cheerful")

# Nobody meets a friend of the same name: heroes have the first half of a list, friends the other.
HE_NAMES = words(
    "Tom Max Ben Leo Finn Jack Hugo Felix Emil Noah Omar Kenji "
    "Sam Tim Oscar Otto Milo Theo Pip Bruno Karl Ravi Luis Ivan"
)
SHE_NAMES = words(
    "Mia Lily Anna Ella Nora Ida Emma Zoe Amy Clara Maya Priya "
    "Rosa Lena Lucy Sara Daisy Ruby Nina Olga Aiko Ines Tilda Luna"
)

COLORS = words("red blue green yellow golden silver white purple orange")
THINGS = words(
    "ball kite drum hat scarf lantern boat book bell key cup whistle basket umbrella wagon "
    "blanket bicycle flute ring map coat balloon"
)
FOODS = phrases(
    "an apple pie|a honey cake|a basket of berries|a loaf of warm bread|a pot of soup"
    "|a box of cookies|a bag of nuts|a bowl of cherries|a bowl of noodles|a plate of pancakes"
)
BUILDINGS = ("boat", "tree house", "little bridge", "hut", "tower")
TRAPS = ("in a deep hole", "in the mud", "between two rocks", "in a net")
SKILLS = phrases(
    "swim|dance|sing|paint|ride a bicycle|fly a kite|whistle|skate|bake bread|play the flute"
    "|climb trees|juggle|read|sail a boat|play the drum"
)
TOPICS = phrases(
    "music|space|football|school|summer|winter|snow|rain|chess|trains|friendship|sharing|courage"
    "|honesty|patience|kindness|love|happiness|dreams|magic|adventure|dancing|books|flowers|stars"
    "|cooking|science|history|nature|Christmas|birthdays|ice cream|cheese|pizza"
)
