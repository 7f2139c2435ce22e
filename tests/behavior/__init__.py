# SPDX-License-Identifier: Apache-2.0
"""What every protocol must do: one table of cases, run against each entry of `protocols`."""
