"""The whole paper in one command."""
