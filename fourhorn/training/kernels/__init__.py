"""This package's own kernels for CPUs with AMX: a whole training pass in compiled Python."""
