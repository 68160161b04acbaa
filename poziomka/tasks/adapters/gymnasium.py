r"""Gymnasium's environments whose actions are words or a few choices.

    import gymnasium
    from poziomka.tasks.adapters import from_gymnasium

    task = from_gymnasium("taxi", lambda: gymnasium.make("Taxi-v4"), "Where to?\n{}", Scale(-200, 15), say=…)

A problem is an episode by its seed: `reset(seed=…)` gives the first observation, which is put into words and into the
prompt. The model acts by writing "<act> … </act>", is answered with the next observation, and so on until the episode
is terminated or truncated; what it earned together is its reward. An episode that is not ended earns nothing, so that
doing nothing is no way to keep a reward.

A session has no state: the actions so far stand in the transcript, and the episode is played again from its seed. So
it can fork, and the scorer, which plays it once more, finds an environment that does not repeat itself: an ERROR.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from poziomka.core.environment import Environment, Reply
from poziomka.core.errors import EnvironmentFailure, TaskError
from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.seeds import seed_of
from poziomka.core.task import Task
from poziomka.core.transcript import Author, Message, Span, Transcript
from poziomka.tasks.adapters.exchange import exchange
from poziomka.tasks.adapters.rows import held_out, key_of
from poziomka.tasks.adapters.scale import Scale

ACT, ACTED = "<act>", "</act>"
NO_ACTION = "that is no action"
PATIENCE = 1000  # seeds tried for an episode whose beginning belongs to a split
LIMITS = ("Episodes of the test split begin unlike those of training; what happens later may be alike.",)


def from_gymnasium(
    name: str,
    make: Callable[[], Any],
    question: str,
    scale: Scale,
    *,
    say: Callable[[Any, Any], str] | None = None,
    actions: Sequence[str] | None = None,
    turns: int = 32,
) -> Task:
    """Returns a Gymnasium environment as a task of many turns.

    Args:
        name: of the task.
        make: returns a fresh environment.
        question: the prompt; "{}" in it stands for the first observation.
        scale: range of what an episode earns together.
        say: puts (environment, observation) into words; None: a text is itself, a number its digits.
        actions: words for a few choices, by number; None: their numbers. Not for actions of text.
        turns: turns after which an episode is cut and has earned nothing.

    Raises:
        TaskError: its actions are neither words nor a few choices.
    """
    played = Played(make, say or _spelled, tuple(actions or ()), turns)
    played.check()

    def source(split: str, index: int, level: int | None = None) -> Problem:  # noqa: ARG001 there are no levels
        for attempt in range(PATIENCE):
            seed = seed_of(name, split, index, attempt) % 2**31
            prompt = (Message("user", question.replace("{}", played.begin(seed))),)
            key = key_of(name, prompt)
            if held_out(name, key) == (split == "test"):
                return Problem(name, key, prompt, facts={"seed": seed})
        message = f"{PATIENCE} episodes begin with prompts of the other split: does {name!r} ask them all the same?"
        raise TaskError(message)

    talk: Environment = Episodes(played)
    return Task(name, source, EpisodeScorer(played, scale), environment=lambda _: talk, limits=LIMITS)


def _spelled(_: Any, observation: Any) -> str:
    return str(observation)


def last_act(words: str) -> str | None:
    """Returns what stands between the last "<act>" and its "</act>"; None where there is no such thing."""
    before, acted, _ = words.rpartition(ACTED)
    _, act, inside = before.rpartition(ACT)
    return inside.strip() if act and acted else None


@dataclass(frozen=True)
class Played:
    """Episodes that are played again from their seeds.

    Attributes:
        make: returns a fresh environment.
        say: puts (environment, observation) into words.
        actions: words for a few choices; empty for their numbers.
        turns: most turns of an episode.
    """

    make: Callable[[], Any]
    say: Callable[[Any, Any], str]
    actions: tuple[str, ...]
    turns: int

    def check(self) -> None:
        """Refuses an environment whose actions cannot be written.

        Raises:
            TaskError: they are neither words nor a few choices, or are named wrongly.
        """
        environment = self.make()
        space = environment.action_space
        kind, choices = type(space).__name__, getattr(space, "n", None)
        environment.close()
        if kind not in ("Text", "Discrete") or (kind == "Text" and self.actions):
            message = f"actions are words (Text) or a few choices (Discrete, which may be named): received {space}"
            raise TaskError(message)
        if self.actions and len(self.actions) != choices:
            message = f"{choices} choices need as many names: received {len(self.actions)}"
            raise TaskError(message)

    def begin(self, seed: int) -> str:
        """Returns the first observation in words."""
        return self.play(seed, []).said[0]

    def play(self, seed: int, acts: Sequence[str]) -> "Episode":
        """Plays an episode with words that are already there.

        Raises:
            EnvironmentFailure: the environment raised.
        """
        try:
            environment = self.make()
            try:
                return self._play(environment, seed, acts)
            finally:
                environment.close()
        except Exception as error:
            message = f"the environment raised {type(error).__name__}: {error}"
            raise EnvironmentFailure(message) from error

    def _play(self, environment: Any, seed: int, acts: Sequence[str]) -> "Episode":
        observation, _ = environment.reset(seed=seed)
        said, earned, ended = [self.say(environment, observation)], 0.0, False
        for act in acts[: self.turns]:
            action = self._action(environment.action_space, act)
            if action is None:
                said.append(NO_ACTION)
                continue
            observation, reward, terminated, truncated, _ = environment.step(action)
            said.append(self.say(environment, observation))
            earned, ended = earned + float(reward), bool(terminated or truncated)
            if ended:
                break
        return Episode(tuple(said), earned, ended)

    def _action(self, space: Any, words: str) -> Any:
        """Returns the action that words spell; None where they spell none."""
        act = last_act(words)
        if act is None:
            return None
        if type(space).__name__ == "Text":
            return act if space.contains(act) else None
        if self.actions:
            return int(space.start) + self.actions.index(act) if act in self.actions else None
        number = int(act) if act.isascii() and act.isdigit() and len(act) < 10 else None
        return number if number is not None and space.contains(number) else None


@dataclass(frozen=True)
class Episode:
    """What came of an episode.

    Attributes:
        said: the observations in words, the first one and one a turn.
        earned: the rewards together.
        ended: it was terminated or truncated.
    """

    said: tuple[str, ...]
    earned: float
    ended: bool


@dataclass(frozen=True)
class EpisodeScorer:
    """A scorer: what an episode earns when it is played again.

    Attributes:
        played: plays it.
        scale: of what an episode earns.
    """

    played: Played
    scale: Scale

    def __call__(self, problem: Problem, transcript: Transcript) -> Score:
        """Returns the score; ERROR where the environment says something else than it said before."""
        acts, heard = exchange(transcript)
        episode = self.played.play(int(str(problem.facts["seed"])), acts)
        if list(map(_shown, episode.said[1 : len(heard) + 1])) != heard[: self.played.turns]:
            return Score.failed(
                Verdict.ERROR, "the environment does not repeat itself: it said something else when judged"
            )
        if not episode.ended:
            return Score.unparsed(f"the episode did not end in {len(acts)} turns")
        why = f"earned {episode.earned:g} in {len(episode.said) - 1} turns"
        return self.scale.score(episode.earned, last_act(acts[-1]), {"earned": episode.earned}, why)


def _shown(words: str) -> str:
    return f"\n{words}\n"


class Episodes:
    """Opens episodes.

    Args:
        played: plays them.
    """

    def __init__(self, played: Played) -> None:
        """Remembers who plays."""
        self.played = played
        self.stop: tuple[str, ...] = (ACTED,)

    def open(self, problem: Problem) -> "EpisodeSession":
        """Returns a session about the episode of a problem."""
        return EpisodeSession(self.played, problem)


class EpisodeSession:
    """Answers the model's action. It has no state: the actions so far stand in the transcript."""

    def __init__(self, played: Played, problem: Problem) -> None:
        """Remembers whose episode it is."""
        self._played, self._problem = played, problem

    async def reply(self, transcript: Transcript) -> Reply | None:
        """Returns the next observation in words; that words are no action is said, and takes a turn.

        Raises:
            EnvironmentFailure: the environment raised.
        """
        acts, _ = exchange(transcript)
        episode = self._played.play(int(str(self._problem.facts["seed"])), acts)
        done = episode.ended or len(acts) >= self._played.turns
        return Reply(Span(Author.ENVIRONMENT, _shown(episode.said[-1])), done=done)

    def fork(self) -> "EpisodeSession":
        """Returns another session about the same episode."""
        return EpisodeSession(self._played, self._problem)

    def close(self) -> None:
        """Holds nothing that could be freed."""
