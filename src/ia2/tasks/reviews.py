"""The built-in task: plain one-sentence reviews of food, rooms, films and more, written for this project.

A sentence is a thing and three words about it, such as "The soup was bad, tasteless and awful." The words of the
evaluation sentences never occur in training sentences, so a model has to know what unseen words mean.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ia2.randomness import generator
from ia2.tasks.task import Example, Task, rows_digest

NAME = "reviews"
DESCRIPTION = "is a one-sentence review negative or positive? built in, no download needed"
LABELS = (" negative", " positive")
INSTRUCTION = Path(__file__).with_name("reviews_instruction.txt")
"""A system prompt of 325 tokens (SmolLM2's tokenizer) that says how to judge reviews."""

SENTENCES = 20
"""Number of sentences for each subject, label and half of the words."""

FRAMES = (
    "{Thing} was {opinion}.",
    "We found that {thing} was {opinion}.",
    "I have to say that {thing} was {opinion}.",
    "In the end {thing} was {opinion}.",
    "This time {thing} was {opinion}.",
    "My friends told me that {thing} was {opinion}.",
)
"""Sentence templates, none of which hints at the label."""

# For these words and for each subject's, training uses the first half and evaluation the second.
NEGATIVE = ("terrible", "bad", "awful", "poor", "horrible", "disappointing", "dreadful", "unpleasant")
POSITIVE = ("wonderful", "good", "excellent", "lovely", "great", "delightful", "fantastic", "pleasant")


@dataclass(frozen=True)
class Subject:
    """A kind of thing that people review, with opinion words that fit every such thing."""

    things: tuple[str, ...]
    negative: tuple[str, ...]
    positive: tuple[str, ...]


SUBJECTS = (
    Subject(  # food
        things=(
            "the soup", "the fish pie", "the roast chicken", "the lamb stew",
            "the vegetable curry", "the omelette", "the lasagne", "the mushroom risotto",
        ),
        negative=("tasteless", "greasy", "overpriced", "disgusting", "bland", "burnt"),
        positive=("delicious", "fresh", "tasty", "mouth-watering", "tender", "perfectly cooked"),
    ),
    Subject(  # rooms
        things=(
            "the hotel room", "the guest house", "the flat", "the cabin by the lake",
            "the bedroom upstairs", "the hostel", "the holiday cottage", "the suite on the top floor",
        ),
        negative=("dirty", "freezing", "cramped", "filthy", "noisy", "damp"),
        positive=("spotless", "cosy", "quiet", "comfortable", "bright", "charming"),
    ),
    Subject(  # films and plays
        things=(
            "the film", "the thriller", "the school play", "the documentary",
            "the comedy", "the musical", "the last episode", "the cartoon",
        ),
        negative=("boring", "predictable", "badly acted", "tedious", "silly", "far too long"),
        positive=("funny", "moving", "beautifully acted", "gripping", "clever", "brilliant"),
    ),
    Subject(  # journeys
        things=(
            "the train", "the night bus", "the ferry", "the taxi",
            "the morning flight", "the tram", "the coach to the coast", "the airport shuttle",
        ),
        negative=("late", "overcrowded", "unreliable", "stuffy", "slow", "uncomfortable"),
        positive=("punctual", "clean", "reliable", "smooth", "fast", "comfortable"),
    ),
    Subject(  # books
        things=(
            "the novel", "the cookbook", "the biography", "the travel guide",
            "the poetry collection", "the detective story", "the textbook", "the picture book",
        ),
        negative=("dull", "confusing", "badly written", "pointless", "tiresome", "full of mistakes"),
        positive=("fascinating", "clear", "beautifully written", "inspiring", "entertaining", "full of wisdom"),
    ),
    Subject(  # people who serve
        things=(
            "the waiter", "the receptionist", "the plumber", "the tour guide",
            "the dentist", "the driving instructor", "the shop assistant", "the gardener",
        ),
        negative=("rude", "careless", "unhelpful", "impatient", "lazy", "dishonest"),
        positive=("friendly", "careful", "helpful", "patient", "hard-working", "honest"),
    ),
    Subject(  # things one buys
        things=(
            "the phone", "the kettle", "the winter coat", "the office chair",
            "the vacuum cleaner", "the lamp", "the suitcase", "the garden table",
        ),
        negative=("useless", "flimsy", "faulty", "ugly", "badly made", "a waste of money"),
        positive=("useful", "sturdy", "well made", "elegant", "easy to use", "worth the money"),
    ),
    Subject(  # outings
        things=(
            "the concert", "the museum", "the street market", "the boat trip",
            "the village fair", "the guided walk", "the botanical garden", "the light show",
        ),
        negative=("badly organised", "depressing", "a rip-off", "dreary", "miserable", "a disaster"),
        positive=("well organised", "uplifting", "a real treat", "magical", "enjoyable", "a triumph"),
    ),
)  # fmt: skip


def reviews() -> Task:
    """Return the task: 320 training and 320 evaluation rows, half of each positive, identical on every call."""
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
    """Return all sentences built from one half of the words, shuffled."""
    examples = [
        Example(f"Text:{sentence}\nLabel:", label)
        for subject in SUBJECTS
        for label, general, particular in zip(
            LABELS, (NEGATIVE, POSITIVE), (subject.negative, subject.positive), strict=True
        )
        for sentence in _sentences(subject.things, _half(general, measured), _half(particular, measured))
    ]
    generator(0, f"order of {NAME}").shuffle(examples)
    return tuple(examples)


def _half(words: tuple[str, ...], measured: bool) -> tuple[str, ...]:
    middle = len(words) // 2
    return words[middle:] if measured else words[:middle]


def _sentences(things: Sequence[str], general: Sequence[str], particular: Sequence[str]) -> list[str]:
    """Return a random sample of the possible sentences, each with a different combination of thing and opinions."""
    draw = generator(0, f"sentences of {things[0]}, {general[0]}")
    everything = itertools.product(things, itertools.permutations(general, 2), particular)
    return [
        draw.choice(FRAMES).format(
            thing=thing, Thing=thing[0].upper() + thing[1:], opinion=f"{first}, {word} and {last}"
        )
        for thing, (first, last), word in draw.sample(list(everything), SENTENCES)
    ]
