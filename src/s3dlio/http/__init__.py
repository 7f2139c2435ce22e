"""The data plane that all cloud stores share: framing, connections, exchanges, and the engine that drives them."""
