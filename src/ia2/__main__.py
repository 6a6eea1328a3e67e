"""`python -m ia2`, the same as `ia2`."""

import sys

from ia2.cli.main import main

sys.exit(main())
