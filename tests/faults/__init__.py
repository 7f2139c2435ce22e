# SPDX-License-Identifier: Apache-2.0
"""What a network and a server can do wrong, done on purpose: a proxy that injects faults, and a table of them."""
