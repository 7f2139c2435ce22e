# SPDX-License-Identifier: Apache-2.0
"""HTTP: addresses, connections, framing, and the exchange of a request for its answer, whatever these are about."""
