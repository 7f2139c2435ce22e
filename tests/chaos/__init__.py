# SPDX-License-Identifier: Apache-2.0
"""Chaos: answers composed from a grammar, for every verb and protocol, and an oracle that knows the truth.

`stores` are model object stores that know their true state and answer correctly. `grammar` damages their answers as a
seed says. `server` plays the result on sockets, plain and TLS. `oracle` calls s3dlio and judges the outcome: it must be
the right bytes and facts, or an S3dlioError, in limited time, and the state of the server must be as reported. `play`
runs a composition: objects, calls, and the answers to each. To run one again and see all that was played:

    python -m tests.chaos SEED
"""
