"""The built-in task: plain one-sentence reviews of food, rooms, films and more, written for this project.

A sentence is a thing that was judged and an opinion of it, such as "The soup" and "was thin and had no taste at all".
The opinions that are measured are never those that were learnt from, so that a model has to understand new ones.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from ia2.randomness import generator
from ia2.tasks.task import Example, Task, rows_digest

NAME = "reviews"
DESCRIPTION = "is a one-sentence review negative or positive? built in, needs no download"
LABELS = (" negative", " positive")

SENTENCES_PER_OPINION = 5
"""How many of a subject's eight things an opinion is said of."""

FRAMES = (
    "{Thing} {opinion}.",
    "We found that {thing} {opinion}.",
    "I have to say that {thing} {opinion}.",
    "In the end {thing} {opinion}.",
    "{Thing} {opinion}, and everyone with me agreed.",
    "This time {thing} {opinion}.",
)
"""Ways of saying it, none of which tells what is said."""


@dataclass(frozen=True)
class Subject:
    """What people review, and what they say of it; each opinion fits each thing.

    Of the negative and of the positive opinions the first half is learnt from and the second half measured.
    """

    things: tuple[str, ...]
    negative: tuple[str, ...]
    positive: tuple[str, ...]


SUBJECTS = (
    Subject(  # food
        things=(
            "the soup", "the fish pie", "the roast chicken", "the lamb stew",
            "the vegetable curry", "the omelette", "the lasagne", "the mushroom risotto",
        ),
        negative=(
            "was cold when it came and tasted of nothing", "was so salty that I left most of it",
            "was greasy, grey and badly cooked", "smelled odd and made two of us ill",
            "was burnt at the edges and raw in the middle", "was a bland mess that nobody finished",
            "was tough, dry and far too expensive", "was the worst thing on the menu",
        ),
        positive=(
            "was delicious from the first bite to the last", "was fresh, warm and full of flavour",
            "was cooked perfectly and beautifully seasoned", "was so good that I asked for more",
            "tasted wonderful and cost very little", "was rich, tender and a real treat",
            "was the best thing I have eaten all year", "was a joy to eat and worth every penny",
        ),
    ),
    Subject(  # rooms
        things=(
            "the hotel room", "the guest house", "the flat we rented", "the cabin by the lake",
            "the bedroom upstairs", "the hostel dormitory", "the holiday cottage", "the suite on the top floor",
        ),
        negative=(
            "was dirty and smelled of smoke", "was freezing at night, and the heater was broken",
            "was noisy, cramped and full of mosquitoes", "looked nothing like the pictures and was a rip-off",
            "had mould on the walls and stains on the sheets", "was so uncomfortable that we left a day early",
            "was dark, damp and depressing", "had a leaking ceiling and an awful bed",
        ),
        positive=(
            "was spotless and wonderfully quiet", "was bright, cosy and very comfortable",
            "had a lovely view and a soft, warm bed", "was even nicer than in the pictures",
            "was charming and made us feel at home", "was excellent value and beautifully furnished",
            "was a peaceful place that we loved at once", "was clean, spacious and perfect for our stay",
        ),
    ),
    Subject(  # films
        things=(
            "the film", "the new thriller", "the documentary about the sea", "the comedy we watched",
            "the final season", "the animated film", "the western on television", "the space adventure",
        ),
        negative=(
            "was boring and far too long", "had a silly plot and terrible acting",
            "was so dull that I fell asleep", "was a disappointing waste of two hours",
            "was predictable, clumsy and painfully slow", "was a mess from start to finish",
            "made no sense and was badly directed", "was the most tedious thing I have ever watched",
        ),
        positive=(
            "was gripping and beautifully filmed", "had a clever plot and superb acting",
            "was so moving that I watched it twice", "was a delight from beginning to end",
            "was funny, warm and brilliantly written", "was a masterpiece that stays with you",
            "kept us excited until the very last minute", "was the most enjoyable thing I have seen in years",
        ),
    ),
    Subject(  # trains and other journeys
        things=(
            "the night train", "the coach to the coast", "the ferry", "the airport bus",
            "the morning flight", "the tram into town", "the express to the north", "the cable car",
        ),
        negative=(
            "was two hours late, and no one apologised", "was overcrowded, hot and unpleasant",
            "was cancelled without any warning", "was filthy and shook the whole way",
            "was a miserable experience with rude staff", "broke down and left us stranded in the rain",
            "was slow, shabby and shockingly expensive", "was so awful that we shall never take it again",
        ),
        positive=(
            "was exactly on time and very comfortable", "was fast, clean and good value",
            "was a pleasure, with friendly and helpful staff", "had comfortable seats and marvellous views",
            "was smooth, quiet and relaxing", "was the nicest part of our whole trip",
            "got us there early and in great comfort", "was so pleasant that we would gladly take it again",
        ),
    ),
    Subject(  # books
        things=(
            "the novel", "the cookery book", "the travel guide", "the collection of stories",
            "the history of the town", "the detective story", "the book about birds", "the biography",
        ),
        negative=(
            "was dull, and I gave up after two chapters", "was badly written and full of mistakes",
            "was shallow and told me nothing new", "was confusing, pompous and hard to read",
            "was a chore to get through", "was so poor that I took it back to the shop",
            "was tiresome and dreadfully repetitive", "was a big let-down after all the praise",
        ),
        positive=(
            "was fascinating, and I read it in one evening", "was beautifully written and full of wisdom",
            "was lively and taught me a great deal", "was clear, funny and hard to put down",
            "was a treasure that I shall read again", "was so good that I bought a copy for my sister",
            "was inspiring and wonderfully told", "was even better than all the praise had promised",
        ),
    ),
    Subject(  # service
        things=(
            "the waiter", "the woman at the desk", "the plumber", "the guide",
            "the dentist", "the man on the phone", "the driver", "the new hairdresser",
        ),
        negative=(
            "was rude and ignored every question", "was late, careless and unfriendly",
            "made everything worse and charged us double", "lied to us and refused to help",
            "was impatient and treated us badly", "had no idea what to do and wasted our time",
            "shouted at us and never apologised", "was hopeless and did a terrible job",
        ),
        positive=(
            "was friendly and answered every question", "was prompt, careful and kind",
            "solved everything quickly and charged a fair price", "went out of the way to help us",
            "was patient and made us feel welcome", "knew exactly what to do and did it brilliantly",
            "was cheerful, thoughtful and a pleasure to meet", "was fantastic and did a superb job",
        ),
    ),
    Subject(  # things from a shop
        things=(
            "the kettle", "the winter coat", "the garden chair", "the lamp I ordered",
            "the rucksack", "the alarm clock", "the umbrella", "the pair of headphones",
        ),
        negative=(
            "broke after a week and was not worth mending", "was cheaply made and fell apart",
            "arrived damaged and looked ugly", "was useless, and the shop refused to take it back",
            "was flimsy and a waste of money", "stopped working on the very first day",
            "was of shoddy quality and badly designed", "was such a poor buy that I regret it",
        ),
        positive=(
            "worked perfectly and still does", "was well made and looks beautiful",
            "arrived early and is exactly what I wanted", "was a bargain, and I use it every day",
            "was sturdy and worth the money", "is so good that I ordered a second one",
            "was of outstanding quality and cleverly designed", "was such a good buy that I recommend it to everyone",
        ),
    ),
    Subject(  # days out
        things=(
            "the museum", "the concert", "the castle tour", "the zoo",
            "the street market", "the play at the theatre", "the music festival", "the boat trip",
        ),
        negative=(
            "was badly organised and not worth the money", "was crowded, loud and no fun at all",
            "was so disappointing that we left after ten minutes", "was a tourist trap with nothing of interest",
            "ruined our afternoon", "was dreary and a complete waste of a day",
            "was a sad, neglected affair that upset the children", "was a disaster that I would not wish on anyone",
        ),
        positive=(
            "was well organised and worth every minute", "was lively, friendly and great fun",
            "was so enjoyable that we stayed until the end", "was a real gem with something for everyone",
            "made our whole weekend", "was magical and a perfect way to spend a day",
            "was a happy, memorable event that thrilled the children", "was a triumph that I would not have missed",
        ),
    ),
)  # fmt: skip


def reviews() -> Task:
    """The task: 320 rows to learn from and 320 to be measured on, half of each positive, the same ones every time."""
    pool, evaluation = _examples(measured=False), _examples(measured=True)
    return Task(
        name=NAME,
        description=DESCRIPTION,
        source=f"built in, sha256:{rows_digest(pool, evaluation)}",
        labels=LABELS,
        pool=pool,
        evaluation=evaluation,
    )


def _examples(measured: bool) -> tuple[Example, ...]:
    """All sentences of one half of the opinions, shuffled."""
    draw = generator(0, f"{'evaluation rows' if measured else 'training pool'} of {NAME}")
    examples = [
        Example(f"Text:{sentence}\nLabel:", label)
        for subject in SUBJECTS
        for label, opinions in zip(LABELS, (subject.negative, subject.positive), strict=True)
        for opinion in _half(opinions, measured)
        for sentence in _sentences(subject.things, opinion, draw)
    ]
    draw.shuffle(examples)
    return tuple(examples)


def _half(opinions: tuple[str, ...], measured: bool) -> tuple[str, ...]:
    middle = len(opinions) // 2
    return opinions[middle:] if measured else opinions[:middle]


def _sentences(things: tuple[str, ...], opinion: str, draw: random.Random) -> Iterator[str]:
    """The opinion said of some of the things, each in a frame of its own."""
    chosen = draw.sample(things, SENTENCES_PER_OPINION)
    for thing, frame in zip(chosen, draw.sample(FRAMES, SENTENCES_PER_OPINION), strict=True):
        yield frame.format(thing=thing, Thing=thing[0].upper() + thing[1:], opinion=opinion)
