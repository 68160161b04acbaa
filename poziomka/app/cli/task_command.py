"""`poziomka tasks`: options of the command and its actions."""

from argparse import ArgumentParser, Namespace

from poziomka.app.cli.shell.arguments import WRONG, positive
from poziomka.core.errors import SettingsError, nearest

TASK_ACTIONS = {
    "list": "poziomka tasks list",
    "show": "poziomka tasks show NAME",
    "play": "poziomka tasks play NAME",
    "check": "poziomka tasks check NAME, or --all",
}


TAKEN = {  # options that each action accepts
    "list": ("json",),
    "show": ("split", "level", "count", "json"),
    "play": ("split", "level", "count"),
    "check": ("all", "problems", "json"),
}


def options(parser: ArgumentParser) -> None:
    """Adds the options of `poziomka tasks` to its argument parser."""
    words = "|".join(TASK_ACTIONS)
    parser.add_argument("action", nargs="?", default="list", metavar=words, help="action (list)")
    parser.add_argument("names", nargs="*", metavar="NAME", help="task to show or play; tasks to check")
    parser.add_argument("--split", metavar="SPLIT", help="train, validation or test (train, if it is not empty)")
    parser.add_argument("--level", type=int, metavar="N", help="difficulty level (default: all levels, as in training)")
    parser.add_argument("--count", type=positive, metavar="N", help="problems to show (3) or to play (10)")
    parser.add_argument("--all", action="store_true", help="check every task that needs no files")
    parser.add_argument(
        "--problems", type=positive, metavar="N", help="problems of each split to check (20; 10 with --all)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines: for list, show and check")


def _demand_taken(given: Namespace) -> None:
    """Raises SettingsError if an option is given that the action ignores; None and False are options not given."""
    for name in ("split", "level", "count", "all", "problems", "json"):
        if getattr(given, name) not in (None, False) and name not in TAKEN[given.action]:
            known = ", ".join(f"--{each}" for each in TAKEN[given.action])
            message = f"tasks {given.action} takes no --{name}: it takes {known}"
            raise SettingsError(message)


def act(given: Namespace) -> int:
    """Runs the action of `poziomka tasks` (list, show, play or check); returns the exit status.

    Raises:
        SettingsError: the action is unknown, or does not take an option or this number of names.
    """
    from poziomka.app.cli.tasks import list_tasks, show_task

    if given.action not in TASK_ACTIONS:
        known = "; ".join(f"`{usage}`" for usage in TASK_ACTIONS.values())
        message = f"unknown action {given.action!r}{nearest(given.action, TASK_ACTIONS)} write {known}"
        raise SettingsError(message)
    _demand_taken(given)
    if given.action == "check" and (bool(given.names) != given.all):
        from poziomka.app.cli.trials import check

        problems = given.problems or (10 if given.all else 20)
        passed = check(given.names, everything=given.all, problems=problems, as_json=given.json)
        return 0 if passed else WRONG
    most = {"list": (0, 1), "show": (1, 1), "play": (1, 1)}.get(given.action)
    if most is None or not most[0] <= len(given.names) <= most[1]:
        message = f"write `{TASK_ACTIONS[given.action]}`: received {len(given.names)} names"
        raise SettingsError(message)
    if given.action == "list":
        print(list_tasks(*given.names, as_json=given.json))
    elif given.action == "show":
        how = {"split": given.split, "level": given.level, "count": given.count or 3}
        print(show_task(given.names[0], **how, as_json=given.json))
    else:
        from poziomka.app.cli.play import Game, play

        play(Game(given.names[0], given.split, given.level, given.count or 10))
    return 0
