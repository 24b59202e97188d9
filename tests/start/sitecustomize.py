"""On the path of every process that a test starts.

MMEngine imports transformers, which comes with peft, for one optimizer: 4 s a process, and no test uses it.
"""

import sys

sys.modules["transformers"] = None
