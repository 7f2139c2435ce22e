# SPDX-License-Identifier: Apache-2.0
"""Runs coroutines and watches descriptors. Nothing here knows HTTP or objects."""
