"""Runs the command line: `python -m poziomka` is the same as `poziomka`."""

import sys

from poziomka.app.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
