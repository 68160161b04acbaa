r"""Adapter of Gymnasium environments whose actions are text or a few choices.

    import gymnasium
    from poziomka.tasks.adapters import from_gymnasium

    task = from_gymnasium("taxi", lambda: gymnasium.make("Taxi-v4"), "Where to?\n{}", Scale(-200, 15), say=…)

A problem is an episode, identified by its seed: `reset(seed=…)` gives the first observation, which is converted to text
and put into the prompt. The model acts by writing "<act> … </act>" and is answered with the next observation, until the
episode is terminated or truncated; the sum of its rewards is the raw reward. An episode that has not ended earns
nothing, so that doing nothing is no way to keep a reward.

A session is stateless: the actions so far are in the transcript, and the episode is replayed from its seed. So it can
be forked, and the scorer, which replays the episode once more, detects an environment that is not reproducible: an
ERROR.
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
PATIENCE = 1000  # maximum seeds tried for an episode whose prompt belongs to the requested split
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
    """Returns a task of several turns whose problems are episodes of a Gymnasium environment.

    The model acts by writing "<act> … </act>"; the environment replies with the next observation.

    Args:
        name: name of the task.
        make: returns a fresh environment.
        question: the prompt; "{}" in it is replaced by the first observation.
        scale: range of an episode's sum of rewards, which is mapped to 0 to 1.
        say: converts (environment, observation) to text; `say=None` uses `str(observation)`.
        actions: the word for each discrete action, in the order of their numbers; `actions=None` lets the model write
            the numbers. Only for environments with discrete actions.
        turns: maximum turns of an episode; one that has not ended by then is UNPARSED and earns nothing.

    Raises:
        TaskError: the action space is neither Text nor Discrete, or `actions` does not have one word per action.
    """
    played = Played(make, say or _spelled, tuple(actions or ()), turns)
    played.check()

    def source(split: str, index: int, level: int | None = None) -> Problem:  # noqa: ARG001 there are no levels
        for attempt in range(PATIENCE):
            seed = seed_of(name, split, index, attempt) % 2**31
            prompt = (Message("user", question.replace("{}", played.begin(seed))),)
            key = key_of(name, prompt)
            if held_out(name, key) == (split == "test"):
                return Problem(prompt, task=name, key=key, facts={"seed": seed})
        message = f"{PATIENCE} episodes begin with prompts of the other split: does {name!r} ask them all the same?"
        raise TaskError(message)

    talk: Environment = Episodes(played)
    return Task(name, source, EpisodeScorer(played, scale), environment=lambda _: talk, limits=LIMITS)


def _spelled(_: Any, observation: Any) -> str:
    return str(observation)


def last_act(words: str) -> str | None:
    """Returns the text between the last "<act>" and its "</act>"; None if there is none."""
    before, acted, _ = words.rpartition(ACTED)
    _, act, inside = before.rpartition(ACT)
    return inside.strip() if act and acted else None


@dataclass(frozen=True)
class Played:
    """Replays episodes of a Gymnasium environment from their seeds.

    Attributes:
        make: returns a fresh environment.
        say: converts (environment, observation) to text.
        actions: the word for each discrete action, in the order of their numbers; if empty, the model writes the
            numbers.
        turns: maximum turns of an episode.
    """

    make: Callable[[], Any]
    say: Callable[[Any, Any], str]
    actions: tuple[str, ...]
    turns: int

    def check(self) -> None:
        """Checks that the model can write the environment's actions as text.

        Raises:
            TaskError: the action space is neither Text nor Discrete, or `actions` does not have one word per action.
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
        """Returns the first observation of the episode with this seed, as text."""
        return self.play(seed, []).said[0]

    def play(self, seed: int, acts: Sequence[str]) -> "Episode":
        """Plays an episode with given replies of the model, and returns its observations and rewards.

        A reply without a valid action counts as a turn, and its observation is NO_ACTION ("that is no action").

        Args:
            seed: seed of the episode.
            acts: the model's replies, one per turn; those after the episode's end or the last allowed turn are ignored.

        Raises:
            EnvironmentFailure: the environment raised an exception.
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
        """Returns the action in a reply, as the action space represents it; None if the reply has no valid one."""
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
    """Result of an episode.

    Attributes:
        said: the observations as text: the first one, and one for each turn.
        earned: sum of the rewards.
        ended: whether the environment terminated or truncated the episode.
    """

    said: tuple[str, ...]
    earned: float
    ended: bool


@dataclass(frozen=True)
class EpisodeScorer:
    """Scores an episode by its sum of rewards, after replaying it from its seed (a scorer).

    Attributes:
        played: replays episodes.
        scale: range of the sum of rewards, which is mapped to 0 to 1.
    """

    played: Played
    scale: Scale

    def __call__(self, problem: Problem, transcript: Transcript) -> Score:
        """Returns the score: ERROR if the replay differs from the transcript, UNPARSED if the episode has not ended."""
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
    """An environment that opens one session per episode (implements `Environment`).

    Args:
        played: replays episodes.
    """

    def __init__(self, played: Played) -> None:
        self.played = played
        self.stop: tuple[str, ...] = (ACTED,)

    def open(self, problem: Problem) -> "EpisodeSession":
        """Returns a session for the episode of a problem."""
        return EpisodeSession(self.played, problem)


class EpisodeSession:
    """Replies to the model's actions (implements `Session`); stateless, as it replays all actions in the transcript."""

    def __init__(self, played: Played, problem: Problem) -> None:
        self._played, self._problem = played, problem

    async def reply(self, transcript: Transcript) -> Reply | None:
        """Returns the next observation as text; NO_ACTION ("that is no action") if the last turn has no valid action.

        Raises:
            EnvironmentFailure: the environment raised an exception.
        """
        acts, _ = exchange(transcript)
        episode = self._played.play(int(str(self._problem.facts["seed"])), acts)
        done = episode.ended or len(acts) >= self._played.turns
        return Reply(Span(Author.ENVIRONMENT, _shown(episode.said[-1])), done=done)

    def fork(self) -> "EpisodeSession":
        """Returns another session for the same episode."""
        return EpisodeSession(self._played, self._problem)

    def close(self) -> None:
        """Does nothing: the session has no resources."""
