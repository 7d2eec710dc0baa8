"""One page with every table and figure of the paper beside the run's own."""
