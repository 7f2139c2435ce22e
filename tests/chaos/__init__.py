"""Chaos: answers composed from a grammar, for every verb and protocol, and an oracle that knows the truth.

`stores` are model object stores that know their true state and answer correctly. `grammar` damages their answers, as a
seed says. `server` plays what comes of it on sockets, plain and TLS. `oracle` makes calls of s3dlio and judges what they
give: the right bytes and facts, or an S3dlioError, in bounded time, and the state of the server as reported. `play` puts
them together. One composition runs again, with all that was played, by

    python -m tests.chaos SEED
"""
