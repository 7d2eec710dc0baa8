"""§2.2: byte-level BPE."""
