# SPDX-License-Identifier: Apache-2.0
"""The real servers that the tests, the demo and the benchmarks talk to.

`install.py` puts them into `.servers/` of the checkout without touching the system. Each server has a
module with a function `start(processes)` that starts it on free ports, waits until it answers, and
returns a small dataclass with its address and its keys. `base.py` holds what they share, `fixtures.py`
makes pytest fixtures of them, and on the command line

    python -m tests.servers install            installs what is missing (`make servers`)
    python -m tests.servers run seaweedfs      runs one until Ctrl-C and prints its environment variables

Modules that the installation needs use the standard library alone, because they run before anything else is installed.
"""
