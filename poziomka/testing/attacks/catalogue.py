"""The tables of all attacks and of the quick ones."""

from poziomka.testing.attacks.attack import Attack, unlike
from poziomka.testing.attacks.bounds import BOUNDS
from poziomka.testing.attacks.network import NETWORKING
from poziomka.testing.attacks.processing import PROCESSING
from poziomka.testing.attacks.reading import READING
from poziomka.testing.attacks.tricks import TRICKS
from poziomka.testing.attacks.writing import WRITING

ATTACKS: tuple[Attack, ...] = unlike([*READING, *WRITING, *NETWORKING, *PROCESSING, *BOUNDS, *TRICKS])
QUICK: tuple[Attack, ...] = tuple(attack for attack in ATTACKS if attack.quick)
