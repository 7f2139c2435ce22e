"""Runs coroutines and watches descriptors. Nothing here knows HTTP or objects."""
