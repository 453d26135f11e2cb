"""Chinwag: a self-hosted server for natural spoken conversation with an AI."""

import os

# numpy's BLAS would wake a thread per core for each small product and let it spin: beside Smart Turn that doubles the
# work (212 and 82 ms of CPU a judgement). It reads this once, when numpy is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__version__ = "0.1.0"
