# SPDX-License-Identifier: Apache-2.0
"""The part of a benchmark that runs in the client's own process, in the virtual environment of that client.

Nothing here imports more than the standard library and, inside the functions of a client, that client.
"""
