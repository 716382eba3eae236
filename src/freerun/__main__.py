"""`python -m freerun`."""

import sys

from freerun.commands.main import main

sys.exit(main())
