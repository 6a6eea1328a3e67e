"""Progress whose messages tests can read."""

from ia2.progress import Silent


class RecordedProgress(Silent):
    """Keep all messages, in order."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)
