# SPDX-License-Identifier: Apache-2.0
"""Runs coroutines and watches descriptors, whatever they are for: independent of HTTP and of objects."""
