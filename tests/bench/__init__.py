"""Speed, measured: each module here has a `run()` that returns something rich can print.

`python -m tests.bench` (that is `make bench`) runs them all; `python -m tests.bench training` those named.
A module may take more options when it is run by itself: `python -m tests.bench.training --full`.
"""

import filterd_trainer  # noqa: F401 # before torch: it says how torch's threads are to wait
