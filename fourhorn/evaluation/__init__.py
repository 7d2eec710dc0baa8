"""§3: the zero-shot experiments, by the paper's own protocols."""
