"""One thread per process before torch is loaded: two workers fill two cores."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
