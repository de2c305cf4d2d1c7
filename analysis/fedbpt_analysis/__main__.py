"""python -m fedbpt_analysis"""

import sys

from .cli import main

sys.exit(main())
