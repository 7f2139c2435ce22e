# SPDX-License-Identifier: Apache-2.0
"""Records each operation of a run of DLIO (`records`), and adds up what was recorded (`totals`)."""
