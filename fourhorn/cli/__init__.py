"""The command line: one file per package, same names, same order."""
