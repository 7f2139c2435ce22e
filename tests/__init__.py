"""The tests; a package, so that they can share helpers such as `tests.servers`."""
