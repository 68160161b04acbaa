"""`python -m poziomka` is `poziomka`."""

import sys

from poziomka.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
