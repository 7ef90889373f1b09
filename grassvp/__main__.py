"""``python -m grassvp`` is the command ``grassvp``."""

import sys

from grassvp.lab.cli import main

if __name__ == "__main__":
    sys.exit(main())
