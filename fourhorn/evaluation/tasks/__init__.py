"""One file per experiment of §3."""
