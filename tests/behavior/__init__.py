# SPDX-License-Identifier: Apache-2.0
"""The behavior that all protocols share: one table of cases, run against each entry of `protocols`."""
