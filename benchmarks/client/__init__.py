# SPDX-License-Identifier: Apache-2.0
"""The part of a benchmark that runs in the process of a client, in the virtual environment of that client.

Modules here import only the standard library. The functions of a client import that client.
"""
