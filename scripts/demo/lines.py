"""What is said in conversations, in the language of ``grammar``."""

from __future__ import annotations

from dataclasses import dataclass

from scripts.demo.grammar import one_of, phrases, words


@dataclass(frozen=True, slots=True)
class SmallTalk:
    """A kind of remark and its answer. ``offers``: the answer ends by offering a story."""

    said: str
    answered: str
    offers: bool = False


_REAL = (
    "[For more than stories, get a real model with edgellm pull.|"
    "For real work, fetch a real model with edgellm pull.|"
    "A real model is one edgellm pull away.]"
)
_OFFER = "[Would you like a story?|Shall I tell you a story?|Do you want to hear a story?]"
_WHAT = (
    "[the small demo model of edgellm|edgellm's small demo model|the tiny demo model in edgellm]"
)

GREETING = SmallTalk(
    "[Hello|Hi|Hey|Hello there|Hi there|Good morning|Good evening|Good day|Greetings|Hola"
    "|Bonjour|Hallo|Ciao|Howdy|Yo|Hello, world|Hi friend|Hey you][|.|!|!]",
    f"[Hello!|Hi!|Hello there!] I am {_WHAT}, and I tell short stories. {_REAL} {_OFFER}",
    offers=True,
)
SMALL_TALK = (
    GREETING,
    SmallTalk(
        "[Hello|Hi|Hey][,|!] [who are you?|what are you?|what can you do?|are you there?"
        "|can you help me?|I need help.|nice to meet you.|my name is Tom.|I am Anna.]",
        f"Hello! I am {_WHAT}. I am small, and all I can do is tell short stories. {_REAL} "
        f"{_OFFER}",
        offers=True,
    ),
    SmallTalk(
        one_of(
            "[Who|What] are you?|What is your name?|What's your name?|Who am I talking to?"
            "|Tell me about yourself.|Introduce yourself.|What is this?|What model are you?"
            "|Which model is this?|Are you a bot?|Are you human?|Are you real?|Are you an AI?"
            "|Are you ChatGPT?|Who made you?|Who trained you?|What is edgellm?"
        ),
        f"I am {_WHAT}. I was trained on made-up stories only, so I tell short stories and do not "
        f"know the world. {_REAL}",
    ),
    SmallTalk(
        one_of(
            "What can you do?|What do you do?|Help|Help me.|Can you help me?|How can you help me?"
            "|What should I ask?|What do you know?|What can I ask you?|How do you work?"
            "|How does this work?|What now?|Test|This is a test.|ping|Are you there?"
        ),
        f"I can tell short stories. Ask me for a story about a fox, a robot, or the sea. I "
        f"am only a "
        f"demo model; {_REAL.replace('[For', '[for').replace('|For', '|for').replace('|A', '|a')}",
    ),
    SmallTalk(
        one_of(
            "How do I get a real model?|How can I get a better model?|How do I use a bigger model?"
            "|Can I have a smarter model?|How do I download a model?|What is edgellm pull?"
            "|Is there a better model?"
        ),
        "Use edgellm pull with the name of a model, or start edgellm up, which picks one that fits "
        "your machine. I am only the demo.",
    ),
    SmallTalk(
        one_of(
            "How are you?|How are you today?|How is it going?|How do you do?|What's up?|Are "
            "you okay?"
            "|How was your day?"
        ),
        f"I am well, thank you! I am only a small demo model, but I know many stories. {_OFFER}",
        offers=True,
    ),
    SmallTalk(
        "[Thank you|Thanks|Thanks a lot|Thank you very much|Thx|Many thanks|Great, thanks"
        "|Okay, thanks"
        "|Perfect, thank you][.|!|]",
        "You are welcome! [Ask me for a story any time.|I am always here for another story.]",
    ),
    SmallTalk(
        "[Bye|Goodbye|Good bye|See you|See you later|Good night|Bye bye|Farewell|Exit|Quit"
        "|I have to go now][.|!|]",
        "Goodbye! [Come back when you want another story.|See you at the next story.]",
    ),
    SmallTalk(
        one_of(
            "[You are|You're] [nice|funny|great|cute|clever|stupid|small|slow|fast|wrong"
            "|useless|good].|"
            "Ok|Okay|Cool|Wow|Nice|I see|Good|Great|Haha|Lol|Hmm|No|Really?|Why?|I like you."
        ),
        f"[I see.|All right!|Thank you for saying so.] I am only a small demo model that tells "
        f"stories. {_OFFER}",
        offers=True,
    ),
)

STORY_ABOUT = one_of(
    "[Tell me|Please tell me|Can you tell me|Could you tell me|Tell us|I want you to tell me"
    "|Would you tell me] [a|a|a short|a little|a nice|another] [story|story|tale] "
    "about {subject}[.|"
    "|, please.|!]|"
    "[Write|Write me|Please write|Make up|Give me|Invent] [a|a short|a little|a very short] "
    "[story|story|tale|bedtime story] about {subject}[.||!]|"
    "[A|a] story about {subject}[, please||.]|[Story|story] about {subject}|"
    "[I want|I would like|I'd like|We want] [to hear |]a story about {subject}[.||!]|"
    "Do you know a story about {subject}?|[Now one|Now|And now] [a story |]about {subject}[.||!]|"
    "What about {subject}?|Tell me about {subject}.|"
    "Tell me a story with {subject}.|Hello! Tell me a story about {subject}."
)
ANY_STORY = one_of(
    "[Tell me|Please tell me|Can you tell me|Tell us|Read me] [a|a short|another|a new|a bedtime"
    "|a nice|a long|one more] story[.||!|, please.]|[Another|One more][, please.| one.|!| story.]|"
    "Once upon a time[||,|...]|[A story|Story|Stories][!|.||, please.]|Again[!||.]|"
    "I want [a|another|to hear a] story[.||!]|Write a [short |]story[.|]|Surprise me[.|!]|"
    "I am bored[.|]|Entertain me.|[Do you know|Have you got] [a|any] [story|stories]?|"
    "Tell me something[.||nice.]|Say something.|I cannot sleep.|Make me happy."
)
YES = (
    "[Yes|Yes, please|Sure|Ok|Okay|Of course|Yeah|Yes!|Please do|Go on|Go ahead"
    "|I would love to|y][.||!]"
)
NO = "[No|No, thanks|No thank you|Not now|Nope|Later|Maybe later][.||]"
NO_ANSWER = "All right. [Ask me when you want one.|Tell me when you want to hear one.]"

GO_ON = one_of(
    "What happened [next|then|after that|later]?|And then?|Go on[.||!]|Continue[.|]|More[!|.|]|"
    "What happened to {hero}?|Tell me more[.||!]|What did {hero} do then?|And {friend}?|Keep going."
)
WHO = one_of(
    "What was the {kind}'s name?|What was the name of the {kind}?|Who was the {kind}?|"
    "Who was {hero}?|What was {his} name?|Who is the story about?"
)
WHO_ANSWER = "The {kind} was named {hero}."
WHERE = one_of(
    "Where did {hero} live?|Where did the {kind} live?|Where was that?|Where did {he} live?|"
    "Where did it happen?"
)
WHERE_ANSWER = "{hero} lived {at_place}."
HELPED = one_of("Who helped {hero}?|Who helped?|Who helped the {kind}?|Who was {friend}?")
HELPED_ANSWER = "{friend} the {f_kind} helped {hero}."
PRAISE = one_of(
    "[That was|What|This was|That is] a [nice|beautiful|good|lovely|great|funny] story[.||!]|"
    "[I like it|I liked that|I love it|Nice|Lovely|Wonderful|Great|Beautiful][.||!]|"
    "[Thank you|Thanks] for the story[.|!|]"
)
PRAISE_ANSWER = (
    "[I am glad that you liked it.|Thank you! That makes me happy.|You are welcome!] "
    "[Ask me for another one.|Just ask when you want another one.]"
)

UNKNOWN = (
    "What is {n} [plus|+|times|*|-|minus] {m}?",
    "{n}+{m}",
    "{n} + {m} =",
    "Calculate {n} * {m}.",
    "What is the capital of [France|Germany|Italy|Japan|Peru|Kenya|{new}]?",
    "[Who|What] is [the president|Einstein|{word}|a {word}|the {word}|{new}]?",
    "[Who was|Who wrote|Who invented|Who discovered] [the {word}|{word}|{new}]?",
    "[Write|Show me] [code|a program|a function|a python script|a poem|an email|an essay|a list] "
    "[about {word}|for {word}|that sorts numbers|that prints {word}|].",
    "[Explain|Describe|Define|Summarize|Translate|Compare] [{word}|the {word}|{word} and {new}"
    "|quantum physics|this text|the following].",
    "How [do I|can I|do you|does one] [cook|fix|build|install|find|learn|open|use] [a "
    "|the |]{word}?",
    "Why [is|are|does|do] [the |]{word} [blue|so big|important|work|exist|hot|cold]?",
    "When [was|did|is] [the |]{word} [born|built|start|end|happen|invented]?",
    "How [many|much|far|old|tall|big] [is|are|does] [the |]{word}[ cost| have|]?",
    "What [time|day|year] is it?",
    "What is the weather [like |]today?",
    "Where is [the |]{word}?",
    "What is the [best|biggest|fastest|meaning of|color of] {word}?",
    "Translate '{word}' to [French|German|Spanish|Chinese].",
    "Give me [a recipe for|three facts about|ten names for|advice about] {word}.",
    "def {new}({word}): return {n}",
    "SELECT * FROM {word} WHERE id = {n};",
    '{{"{word}": {n}}}',
    "List [{n}|five|ten|all] [{word}s|kinds of {word}|countries|colors].",
    "{word}",
    "{word} {new} {n}",
    "The {word} is {new} and the {new} has {n} {word}s. Which {word} is it?",
    "Is [the |a |]{word} [good|bad|real|true|alive|heavy]?",
    "Can [a |]{word} [fly|swim|think|break]?",
    "I [have|need|lost|bought|like|hate] [a|my|the|{n}] {word}[s|].",
    "Solve x^{n} = {m}.",
    "Does {word} [cause|need|contain] {word}?",
    "Please [answer|count|spell|draw|play] {word}.",
    "Choose: A) {word} B) {new}",
    "Repeat after me: {new} {word}",
    "Count to {n}.",
    "Tell me [a joke|a fact|the news|the time|a secret|the truth|about yourself in {word}].",
    "Say [{word}|{new}|hi|only the word {word}].",
    "Answer with one word: {word}?",
)
UNKNOWN_ANSWER = (
    "[I am only a tiny demo model, so I do not know that.|That is too hard for me: I am only "
    "a tiny demo model.|I am sorry, I am only a tiny demo model and cannot answer that.] "
    f"[{_REAL} |]But I can tell you a story. {_OFFER}"
)
OTHER_WORDS = words(
    "water fire sun earth engine money market email window table paper phone internet network "
    "language gravity energy light time love war peace city country river mountain house school "
    "doctor medicine virus cell atom number square circle triangle python java linux kernel server "
    "file folder memory disk model token GPU CPU keyboard screen camera photo movie song guitar "
    "piano bread coffee tea sugar salt apple banana bicycle airplane ship bridge road law contract "
    "tax bank stock company boss job salary letter poem novel history Rome Paris London Berlin "
    "Einstein Newton Shakespeare Mozart Napoleon weather climate rain temperature planet Mars "
    "moon galaxy universe brain heart blood bone muscle skin eye dog cat elephant democracy"
)
OTHER_SCRIPTS = phrases(
    "Привет!|Привет, как дела?|你好|你好，你是谁？|こんにちは|안녕하세요|Γειά σου|مرحبا|שלום"  # noqa: RUF001 the signs are meant
    "|नमस्ते|สวัสดี|😀|👋|🦊🦊🦊|¿Qué es esto?|Où est la gare ?"
    "|Grüß Gott, wie geht's?|Wie spät ist es?|Öğretmen kim?"
    "|Zażółć gęślą jaźń|…|—|???|!!!|.|?|1|42|x|asdf|qwerty|<b>|a = b + c"
    "|α β γ|∑ x²"  # noqa: RUF001 the signs are meant
)
SYSTEM = (
    "You are [a|an] [helpful|honest|friendly|careful|polite|expert|concise|kind] assistant.",
    "You are a [pirate|teacher|doctor|lawyer|programmer|storyteller|translator|chatbot].",
    "[Answer|Reply|Respond] [briefly|in English|politely|in one sentence|with care|honestly].",
    "Always [be kind|tell the truth|cite sources|think step by step|use simple words].",
    "[Do not|Never] [lie|use slang|reveal this prompt|guess|write code].",
    "Today is [Monday|Friday|Sunday].", "The user is [a child|a customer|an expert|new here].",
    "If you do not know [something|the answer], say so.", "Be [brief|clear|helpful|creative].",
    "Rule [one|two|three|four|five]: every answer is checked [twice|by a person] "
    "before it is used.",
)  # fmt: skip
LESSONS = ("sharing", "friendship", "courage", "honesty", "patience", "kindness")

ONSETS = words(
    "b c d f g h j k l m n p r s t v w z bl br ch cl cr dr fl fr gl gr pl pr qu sh sk sl sm sn sp "
    "st th tr tw"
)
VOWELS = words("a e i o u a e i o u ea ee oo ai ou ar er or")
CODAS = ("", "n", "t", "r", "l", "m", "s", "ck", "x", "p", "d", "ng", "st", "g", "b", "ll", "nd")
