# SPDX-License-Identifier: Apache-2.0
"""HTTP: addresses, connections, framing, and the exchange of one request for its answer. Nothing here knows objects."""
