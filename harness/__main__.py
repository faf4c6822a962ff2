"""`python -m bringup.harness` is the `bringup` command."""

import sys

from bringup.harness.cli import main

sys.exit(main())
