"""The plots: one line a beat, in the language of ``grammar``.

Fields: ``hero`` and ``friend`` are names; ``he`` ``his`` ``him`` (and capitals) speak of the hero,
``f_he`` ``f_his`` ``f_him`` of the friend; ``at_place`` is "in the forest", ``place`` "the forest".
Where both are on stage, names are used wherever a pronoun could mean either.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plot:
    """A course of events. ``friend_helps`` allows the question who helped."""

    name: str
    lesson: str
    friend_helps: bool
    beats: str


OPENINGS = (
    "Once upon a time, there [was|lived] {a_kind} named {hero}. {He} lived {at_place}.",
    "Once upon a time, {a_kind} named {hero} lived {at_place}.",
    "There was once {a_kind} [named|called] {hero}, who lived {at_place}.",
    "{hero} was {a_kind} who lived {at_place}.",
    "Long ago, {at_place}, there lived {a_kind} named {hero}.",
    "[Not so long ago|A long time ago], {a_kind} named {hero} lived {at_place}.",
)

LOST = Plot(
    name="lost",
    lesson="kindness",
    friend_helps=True,
    beats="""
{He} had {a_thing}[ and took it everywhere|, and {he} loved it very much| that {his_grandparent} \
had made].
One [windy|sunny|rainy|cold] [morning|day|afternoon], the {noun} was gone.
{hero} looked [in every corner|high and low|under the bed and on the roof], but {he} could not \
find it. {He} [felt very sad|began to cry|sat down and sighed].
[Just then|Soon|After a while], {f_a_kind} named {friend} came by. "What is wrong?" asked {friend}.
"I have lost my {thing}," said {hero}. "[Do not worry|Do not be sad]," said {friend}. \
"[We will look for it together|Two can look better than one|I will help you]."
They [walked and walked|looked all day|followed every little path] {round_place}, and at last \
{friend} saw something {color} {spot}. It was the {noun}!
[{hero} jumped with joy|{hero} laughed and hugged {friend}|{hero} was so happy that {he} danced]. \
"Thank you, {friend}!" {he} said.
From that day on, {hero} and {friend} [shared the {noun}|were best friends|played with the {noun} \
together].
""",
)

STUCK = Plot(
    name="stuck",
    lesson="kindness",
    friend_helps=False,
    beats="""
One [morning|day|evening], {hero} went for a walk and heard a [small|quiet|sad] voice. \
"[Help!|Please help me!|Is anybody there?]" it said.
It was {f_a_kind} named {friend}, who was stuck {trap}.
{hero} was [not big|not very strong|a little afraid], but {he} did not run away. "Hold on," {he} \
said. "I have an idea."
{He} [found a long rope|took a long branch|brought a ladder] and [pulled as hard as {he} could\
|held it out to {friend}]. [One, two, three|They pulled and pulled], and {friend} was free!
"Thank you," said {friend}. "You are [very brave|very kind|a true friend]."
{friend} [invited {hero} to supper|gave {hero} {food}|sang a song for {hero}], and they talked \
until [the stars came out|the sun went down|it was time for bed].
[After that, they met every day|Since then, they have been best friends|{hero} went home proud \
and happy].
""",
)

STORM = Plot(
    name="storm",
    lesson="courage",
    friend_helps=True,
    beats="""
One [night|evening], dark clouds came, and [a great storm began|the wind began to howl|it began \
to rain and thunder].
{hero} was alone and [very afraid|shaking with fear]. The wind [blew the roof off {his} house\
|broke {his} window|blew out {his} candle].
"Where can I go now?" {he} [cried|asked]. [Then|Suddenly] {he} saw a light {spot}.
It was the home of {f_a_kind} named {friend}. "Come in, come in!" said {friend}. "[It is warm \
here|There is room for two]."
{friend} gave {hero} [a warm blanket|a cup of hot milk|a bowl of soup], and they told each other \
stories until the storm was over.
In the morning, the sun was shining. {friend} helped {hero} to [mend the house|clean up|put \
everything right].
"[A storm is not so bad|No storm is too long|The night is not so dark] when you have a \
friend," said {hero}, and {he} smiled.
""",
)

SHARING = Plot(
    name="sharing",
    lesson="sharing",
    friend_helps=False,
    beats="""
One day, {hero} [found|made|was given] {food}. It smelled wonderful.
"[I will eat it all by myself|It is all mine]," said {hero}, and {he} sat down to eat.
Then {f_a_kind} named {friend} came along. {friend} had walked a long way and was [very hungry\
|hungry and tired].
{hero} [looked at the food and then at {friend}|thought for a moment|was quiet for a while]. "Sit \
down with me," {he} said at last. "[There is enough for two|We will share it]."
They ate together, [and it tasted better than anything|and they talked and laughed]. {friend} told \
{hero} about [far lands|the big world|the stars].
The next day, {friend} came back with {food_2} and said, "Today I share with you."
[So {hero} learned that sharing makes everything taste better|{hero} was glad that {he} had \
shared|From then on, they always shared what they had].
""",
)

LEARNING = Plot(
    name="learning",
    lesson="patience",
    friend_helps=True,
    beats="""
More than anything, {hero} wanted to learn to {skill}.
{He} tried on Monday, but it did not work. {He} tried on Tuesday, but [it went wrong again|it was \
even worse]. "I will never learn it," {he} said [sadly|and sighed].
{f_A_kind} named {friend} [had seen it all|heard this]. "I could not {skill} at first, either," \
said {friend}. "[Come, I will show you|Let us try it together|Do it slowly, step by step]."
Every day, they met {spot} and practiced. [Sometimes they laughed, and sometimes {hero} wanted to \
stop|It was hard, but {hero} did not give up].
And one [fine|sunny|quiet] morning, {hero} could do it! "Look, {friend}! I can {skill}!" {he} \
[cried|shouted].
Everyone {at_place} [clapped|came to see it|cheered]. {hero} was [proud|so happy], but {friend} \
was even [prouder|happier].
""",
)

NEW_FRIEND = Plot(
    name="new friend",
    lesson="friendship",
    friend_helps=False,
    beats="""
{He} had a [nice|cozy|lovely] home, but nobody to play with, and so {he} was often lonely.
One [spring|summer|autumn|winter] day, {hero} heard somebody [singing|laughing softly|crying]. \
{He} [looked around|followed the sound] and saw {f_a_kind} {spot}.
"Hello," said {hero}. "Who are you?" "I am {friend}," said the {f_kind} in a shy voice. "I am new \
here, and I have no friends yet."
"[Neither do I|I have none, either]," said {hero}. "[Shall we play|Do you want to play with me]?" \
{friend} nodded.
They [played hide and seek|built a little house|chased butterflies|looked at the clouds] all day \
long, and [nobody was lonely any more|the day went by like a minute].
When it got dark, {friend} asked, "Will you come again tomorrow?" "[Of course|Yes, every day]," \
said {hero}.
And {hero} went home with a [warm heart|big smile].
""",
)

WAY_HOME = Plot(
    name="way home",
    lesson="kindness",
    friend_helps=True,
    beats="""
One [morning|day|afternoon], {hero} saw a [blue|golden|white] butterfly and ran after it, [farther \
and farther|over hills and streams], until {he} did not know where {he} was.
The sun went down, and [it grew cold|everything looked strange]. "[I want to go home!|How will I \
find my way home?]" {hero} whispered.
[High up in a tree sat|Behind a bush sat|On the path stood] {f_a_kind} named {friend}. "Are you \
lost?" asked {friend}. {hero} nodded, and a tear ran down.
"I know the way to {place}," said {friend}. "[Follow me|Come with me], and do not be afraid."
They went through the dark together. {friend} [told funny stories|sang a little song|showed \
{hero} the stars], and soon {hero} was not afraid at all.
At last {he} saw the lights of home. {his_Family} [ran to meet {him}|hugged {him} tightly].
"Thank you, {friend}," said {hero}. "[You are a good friend|I will never forget this]."
""",
)

HONEST = Plot(
    name="honest",
    lesson="honesty",
    friend_helps=False,
    beats="""
{His} best friend was {f_a_kind} named {friend}, who had {a_thing}.
One day, {hero} [borrowed the {noun}|played with the {noun}], and [crack|oh no]! It fell down and \
broke.
{hero} was [afraid|ashamed]. "[I will hide it|I will say nothing]," {he} thought, and {he} put \
the {noun} {spot}.
But {he} [could not sleep that night|could not eat and could not play]. In the morning, {he} went \
to {friend} and told the truth. "I broke your {thing}. I am so sorry."
{friend} was quiet for a moment. Then {friend} [smiled|took {his} hand]. "[Thank you for telling \
me|It was brave to tell me]," said {friend}. "[Let us mend it together|A friend is worth more than \
a {noun}]."
They worked all afternoon with [glue and string|a little paint], and the {noun} looked [as good as \
new|even better than before].
[And {hero} felt light and happy again|{hero} never hid the truth again].
""",
)

BIRTHDAY = Plot(
    name="birthday",
    lesson="friendship",
    friend_helps=False,
    beats="""
It was {his} birthday, but when {he} woke up, nobody was there. [The house was quiet|There was no \
song and no cake].
{hero} went to see {friend} the {f_kind}, {his} best friend, but the door was closed. "[They have \
all forgotten me|Nobody knows what day it is]," said {hero}, and {he} felt [sad|very small].
{He} [walked slowly|went alone] {round_place} until the evening. Then {he} saw [lights|many little \
lanterns] {spot}.
"Surprise!" [cried|shouted] {friend}, and everyone jumped out. There was music and {food}.
{friend} gave {hero} {a_thing}. "I made it for you," {f_he} said. "[That is why I was hiding all \
day|It took me a whole week]."
{hero} did not know what to say. {He} [hugged {friend}|laughed and cried] and blew out the \
candles.
It was the best birthday of all.
""",
)

SEED = Plot(
    name="seed",
    lesson="patience",
    friend_helps=True,
    beats="""
One spring day, {hero} found a [tiny|round|strange] seed {spot}. "What will it be?" {he} wondered.
{He} put it in the ground and gave it water. {He} waited one day, and two days, and [nothing \
happened|saw nothing but earth]. "[It does not work|It will never grow]," said {hero}.
"[Be patient|Give it time]," said {friend}, {f_a_kind} who lived next door. "Good things need time."
So {hero} waited. When it was hot, {friend} helped {him} to carry water. When it was cold, they \
covered it with [leaves|straw].
And one morning there was a green leaf! It grew and grew, until it was [a tall sunflower|a \
beautiful rose|an apple tree|a huge pumpkin].
Everyone came to look at it. "[We did it together|You were right]," said {hero} to {friend}.
Then they [sat down in its shade|gave seeds to all their friends], and they were [happy|very proud].
""",
)

DARK = Plot(
    name="dark",
    lesson="courage",
    friend_helps=True,
    beats="""
By day, {hero} was [brave|never afraid], but at night {he} was afraid of the dark.
One night, there was a strange noise. [Tap, tap, tap|Scratch, scratch, scratch]! {hero} hid under \
{his} blanket and did not move.
Then {he} took a deep breath, [lit a candle|picked up a lantern], and opened the door. There, \
{spot}, sat {f_a_kind} named {friend}.
"[I am sorry|Do not be afraid]," said {friend}. "I only wanted to show you something. Come and \
look up!"
{hero} looked up. The sky was full of stars, [big ones and small ones|more than anyone could \
count]. "[Oh|It is so beautiful]!" {he} said.
"The dark is there so that the stars can shine," said {friend}.
They [sat together for a long time|counted stars until they were sleepy]. Since that night, \
{hero} [has not been afraid of the dark|has loved the night].
""",
)

RACE = Plot(
    name="race",
    lesson="friendship",
    friend_helps=False,
    beats="""
Every year there was a great race {at_place}, and {hero} wanted to win it. {He} [trained every \
day|ran every morning before breakfast].
On the day of the race, {hero} was [faster than everyone|far in front]. The finish was very near.
Then {he} saw {f_a_kind} named {friend}, who had [fallen down|hurt a foot] and [could not get up\
|sat by the path and cried].
{hero} looked at the finish. {He} looked at {friend}. Then {he} [stopped|turned around]. "[Lean on \
me|Come, I will help you]," {he} said.
All the others ran past, [one after another|laughing]. {hero} and {friend} came in last, side by \
side.
But everyone [clapped for them the loudest|stood up and cheered]. "You did not win the race," said \
{friend}, "but you won a friend."
[And {hero} thought that this was the better prize|{hero} smiled, for that was true].
""",
)

BUILDING = Plot(
    name="building",
    lesson="patience",
    friend_helps=True,
    beats="""
One day, {hero} began to build {a_building}. {He} worked [from morning until night|all by \
{himself}], \
but [at night the wind blew|it was too heavy], and it all fell down.
{hero} [kicked a stone|sat on the ground and sighed]. "[I cannot do it|It is too hard for me]," \
{he} said.
{friend} the {f_kind} [was passing by|looked over the fence]. "[May I help|Shall I hold this \
end]?" \
asked {friend}. "I am good with [hammers|knots|wood]."
So they started again. {hero} [carried the wood|drew a plan], and {friend} [tied the knots|held \
the nails]. [They sang while they worked|When one was tired, the other went on].
After [three days|a week], {the_building} was ready, and it [was strong|stood firm in the wind].
"[We make a good team|It is ours now]," said {hero}, and {friend} [laughed|nodded happily].
That evening, they sat in it together and watched [the moon rise|the sun go down].
""",
)

TREASURE = Plot(
    name="treasure",
    lesson="sharing",
    friend_helps=False,
    beats="""
One [rainy|quiet|bright] day, {hero} found an old [map|letter] {spot}. It showed the way to a \
treasure!
{He} ran to {his} friend {friend} the {f_kind}. "[Will you come with me?|Let us find it \
together!]" \
asked {hero}. "[Yes, at once|Of course]!" said {friend}.
They [crossed a bridge|climbed over rocks], went through a dark [cave|tunnel], and dug a deep \
hole. \
There was a wooden box!
{hero} opened it with shaking hands. Inside there was no gold. There was only {a_thing} and a note.
"[The real treasure is the one who came with you|Whoever finds this has a good friend]," it said.
{hero} and {friend} looked at each other and [laughed|smiled]. [It was true|The note was right].
They took the {noun} home, and [each of them had it for one week|they kept it where both could see \
it].
""",
)

PLOTS = (
    LOST,
    STUCK,
    STORM,
    SHARING,
    LEARNING,
    NEW_FRIEND,
    WAY_HOME,
    HONEST,
    BIRTHDAY,
    SEED,
    DARK,
    RACE,
    BUILDING,
    TREASURE,
)

CLOSINGS = (
    "",
    "",
    "",
    "The end.",
    "[And that|That] is the story of {hero} the {kind}.",
)
TOPIC_LINES = (
    "{hero} loved {topic} more than anything else.",
    "{He} was always thinking about {topic}.",
    "Everyone knew how much {hero} loved {topic}.",
)
THING_LINES = (
    "{He} had {a_thing} and liked to show it to everyone.",
    "{He} never went out without {his} {thing}.",
)
LATER = (
    "The next day, {hero} and {friend} met again {at_place}. They [went for a long walk|had a \
picnic\
|played until evening], and [{friend} told a new story|{hero} brought {food}]. \
[It was a good day|They were very happy].",
    "After that, {hero} and {friend} [visited each other often|saw each other every day]. When \
winter came, they [sat by the fire|drank hot milk] and talked about [that day|everything that had \
happened].",
    "A year later, {hero} [still remembered that day|told the story to everyone {at_place}]. And \
{friend}? {friend} was still {his} best friend.",
)
