"""Records each operation of a run of DLIO."""
